//! What a file says, and the sentence about what moved.

use std::sync::Arc;

use super::{Target, look, step_in_words, usable};
use evenkeel_balance::membership::Step;
use evenkeel_model::config::{Address, Backend, Intent, Members, MembersSource};
use evenkeel_model::ids::Name;
use evenkeel_model::parse::{list_of_members, parse};

fn address(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

fn names(numbers: std::ops::Range<u32>) -> Vec<Name> {
    numbers
        .map(|n| Name::new(&format!("m{n}")).unwrap())
        .collect()
}

#[tokio::test]
async fn a_look_at_a_file_tells_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("members.toml");
    let target = Arc::new(Target {
        members: Members {
            source: MembersSource::File(path.clone()),
            resolver: None,
            ttl_min: Members::TTL_MIN,
            ttl_max: Members::TTL_MAX,
        },
        intent: Intent::Weight,
        declared: vec![(Name::new("own").unwrap(), address(9))],
    });
    let missing = look(&target).await.unwrap_err();
    let said = missing.contains("list of members") && missing.contains("members.toml");
    assert!(said && !missing.contains("configuration"), "{missing}");
    for (text, said) in [
        (
            "[[member]]\nname = \"a\"\nadress = \"127.0.0.1:1\"\n",
            "line 3: unknown key `adress` in `member a` (did you mean `address`?)",
        ),
        (
            "[[member]]\nname = \"own\"\naddress = \"127.0.0.1:1\"\n",
            "a member is called `own`, as a backend of the configuration is",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = look(&target).await.unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    std::fs::write(
        &path,
        "[[member]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let (found, _) = look(&target).await.unwrap();
    assert_eq!((found.members.len(), &found.warning), (1, &None));
    assert!(found.members[0].discovered);
}

#[test]
fn addresses_that_no_host_has_are_left_out_and_shared_ones_are_told() {
    let declared = [(Name::new("own").unwrap(), address(9))];
    let member = |name: &str, address: &str| {
        let text = format!("[[member]]\nname = \"{name}\"\naddress = \"127.0.0.1:1\"\n");
        let listed = list_of_members(&text, None, Intent::Weight, &[]);
        let member = listed.members.unwrap().remove(0);
        let address = Address::Tcp(address.parse().unwrap());
        Backend { address, ..member }
    };
    let wrong = [
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "255.255.255.255:1",
        "[::ffff:0.0.0.0]:1",
    ];
    for address in wrong {
        let found = vec![member("a", address), member("b", "127.0.0.1:2")];
        let listed = usable(found, &declared).unwrap();
        assert_eq!(listed.members[0].name.as_str(), "b");
        assert!(listed.warning.unwrap().contains("left out"), "{address}");
        // Who names nothing else says nothing that can be used.
        usable(vec![member("a", address)], &declared).unwrap_err();
    }
    let twice = vec![
        member("a", "127.0.0.1:2"),
        member("b", "127.0.0.1:2"),
        member("c", "127.0.0.1:9"),
    ];
    let listed = usable(twice, &declared).unwrap();
    assert_eq!(listed.members.len(), 3);
    let warning = listed.warning.unwrap();
    assert!(
        warning.contains("`a` and `b` have one address") && warning.contains("`own` and `c`"),
        "{warning}"
    );
    assert_eq!(usable(Vec::new(), &declared).unwrap().warning, None);
}

#[test]
fn what_moved_is_told_in_a_sentence_of_bounded_length() {
    let text = "[listener.web]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"web\"\npool = \"p\"\n[pool.p.members]\nfile = \"m.toml\"\n";
    let config = parse(text, None).config.unwrap();
    let source = MembersSource::File("m.toml".into());
    let step = Step {
        added: names(0..7),
        removed: names(8..9),
        ..Step::default()
    };
    assert_eq!(
        step_in_words(&config.pools[0], &source, &step),
        "pool p, file m.toml: m0, m1, m2, m3, m4 and 2 more joined; m8 left"
    );
    assert_eq!(
        step_in_words(&config.pools[0], &source, &Step::default()),
        ""
    );
}
