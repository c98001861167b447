//! How files come in: bytes that are no text, includes that fail many times, files from elsewhere.

use evenkeel_import::{FILES_MAX, File, Files, Imported};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;

use crate::file;

fn bytes(text: &[u8]) -> Imported {
    let main = File {
        name: "nginx.conf".to_owned(),
        bytes: text.to_vec(),
    };
    evenkeel_import::read(Balancer::Nginx, main, &evenkeel_import::NoFiles)
}

#[test]
fn a_byte_that_is_no_text_matters_only_where_it_decides() {
    let harmless = b"events {} http { # caf\xe9\n log_format x 'caf\xe9'; upstream a { server b:1; server c:1; }
        server { location /caf\xe9 { proxy_pass http://a; } } }";
    let imported = bytes(harmless);
    assert!(imported.setup.is_some(), "{:?}", imported.findings);
    let told = imported.findings.first().unwrap();
    assert_eq!((told.id, told.severity), ("IMP-01", Severity::Info));
    assert!(told.message.starts_with("3 bytes"), "{}", told.message);
    assert_eq!(told.location.as_ref().map(|at| at.line), Some(1));
    for decides in [
        &b"events {} http { upstream a { server caf\xe9:1; } }"[..],
        b"events {} http { upstream caf\xe9 { server b:1; } }",
        b"events {} http { upstream a { hash \xe9; server b:1; server c:1; } }",
        b"events {} http { server { listen caf\xe9:80; } }",
    ] {
        let imported = bytes(decides);
        assert!(
            imported.setup.is_none(),
            "{}",
            String::from_utf8_lossy(decides)
        );
        let errors = imported
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error);
        assert_eq!(errors.count(), 1, "{:?}", imported.findings);
    }
}

#[test]
fn an_include_that_fails_at_many_places_is_one_finding_with_a_count() {
    let includes = "server { include gone.conf; } ".repeat(972);
    let imported = crate::read(&format!("events {{}} http {{ {includes} }}"));
    let [told] = imported.findings.as_slice() else {
        unreachable!("{:?}", imported.findings.len());
    };
    assert!(
        told.message.ends_with("(here and in 971 more places)"),
        "{}",
        told.message
    );
    assert!(told.fix.contains("--root"), "{}", told.fix);
    assert!(told.location.is_some());
}

/// Everything is there, with this text.
struct Always(&'static str);

impl Files for Always {
    fn open(&self, _from: &str, pattern: &str) -> Result<Vec<File>, String> {
        Ok(vec![file(pattern, self.0)])
    }

    fn is_outside(&self, name: &str) -> bool {
        name.starts_with("/etc/")
    }
}

fn with(text: &'static str, main: &str) -> Imported {
    evenkeel_import::read(Balancer::Nginx, file("nginx.conf", main), &Always(text))
}

#[test]
fn one_file_too_many_is_told_once_with_what_to_do() {
    let includes = "include a.conf; ".repeat(FILES_MAX + 10);
    let imported = with("#", &format!("events {{}} http {{ {includes} }}"));
    let [told] = imported.findings.as_slice() else {
        unreachable!("{:?}", imported.findings.len());
    };
    assert!(
        told.message.contains("more than 1000 files"),
        "{}",
        told.message
    );
    assert!(told.fix.contains("a part"), "{}", told.fix);
}

#[test]
fn a_file_from_elsewhere_that_is_no_configuration_is_not_quoted() {
    let secret = "root:$6$hash:1:\ndaemon:*:2:\n";
    let main = "events {} http { include /etc/shadow; }";
    let imported = with(secret, main);
    let told = imported.findings.first().unwrap();
    assert_eq!(told.file.as_deref(), Some("/etc/shadow"));
    assert_eq!(told.location.as_ref().map(|at| at.line), Some(1));
    let all = format!("{:?} {:?}", imported.findings, imported.origin.sources);
    assert!(!all.contains("hash") && !all.contains("daemon"), "{all}");
    // Beside the configuration the same text is shown, so that it can be put right.
    let near = with(secret, "events {} http { include shadow; }");
    assert!(format!("{:?}", near.findings).contains("hash"));
    // What is configuration may be shown from wherever it comes.
    let sound = with(
        "upstream a { server b:1; odd 1; }",
        "events {} http { include /etc/a; }",
    );
    assert!(format!("{:?}", sound.findings).contains("odd"));
}

#[test]
fn a_line_end_in_a_name_stays_on_its_line() {
    let imported = with("#", "events {} http { include \"a\nb\"; }");
    let names: Vec<_> = imported
        .origin
        .sources
        .iter()
        .map(|s| s.file.clone())
        .collect();
    assert_eq!(names.last().unwrap().as_deref(), Some("a\\nb"));
}
