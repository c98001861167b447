//! What a file says, and the sentence about what moved.

use std::sync::Arc;

use super::{Target, in_words, look};
use evenkeel_balance::membership::Step;
use evenkeel_model::config::{Intent, Members, MembersSource};
use evenkeel_model::ids::Name;
use evenkeel_model::parse::parse;

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
        declared: vec![Name::new("own").unwrap()],
    });
    let missing = look(&target).await.unwrap_err();
    assert!(missing.contains("members.toml"), "{missing}");
    for (text, said) in [
        (
            "[[member]]\nname = \"a\"\nadress = \"127.0.0.1:1\"\n",
            "line 3",
        ),
        (
            "[[member]]\nname = \"own\"\naddress = \"127.0.0.1:1\"\n",
            "called too",
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
    assert_eq!(found.len(), 1);
    assert!(found[0].discovered);
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
        in_words(&config.pools[0], &source, &step),
        "pool p, file m.toml: m0, m1, m2, m3, m4 and 2 more joined; m8 left"
    );
    assert_eq!(in_words(&config.pools[0], &source, &Step::default()), "");
}
