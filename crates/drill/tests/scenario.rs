//! Reading scenarios: what is accepted, and what each mistake is told.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic; a failed test is the report"
)]

use evenkeel_drill::scenario::{Feature, Problem, Scenario, Span, Stage, parse};
use evenkeel_drill::shipped;

const CONFIG: &str = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n[pool.shop]\n[pool.shop.backend.web-1]\naddress = \"127.0.0.1:1\"\nzone = \"a\"\n";

fn text(more: &str) -> String {
    format!("schema = 1\nname = \"x\"\ntitle = \"t\"\n[config]\ntext = '''\n{CONFIG}'''\n{more}")
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text, "x.toml").expect_err("a mistake")
}

fn one(more: &str) -> Problem {
    let text = text(more);
    let problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let problem = problems[0].clone();
    assert!(problem.line >= 1 && problem.column >= 1 && !problem.fix.is_empty());
    problem
}

fn ok(more: &str) -> Scenario {
    parse(&text(more), "x.toml").unwrap_or_else(|p| panic!("{more}: {p:#?}"))
}

#[test]
fn every_shipped_drill_reads_and_names_itself() {
    for shipped in shipped() {
        let scenario = parse(shipped.text, shipped.name).unwrap_or_else(|p| panic!("{p:#?}"));
        assert_eq!(scenario.name, shipped.name);
        assert_eq!(scenario.missing(Stage::Sim), None);
        assert!(scenario.expect.silent || scenario.injected().is_some());
    }
}

#[test]
fn the_least_scenario_has_the_documented_defaults() {
    let scenario = ok("");
    assert_eq!(scenario.duration, Span::secs(60));
    assert_eq!(scenario.steady.hold, Span::secs(10));
    assert!((scenario.traffic.rate - 300.0).abs() < f64::EPSILON);
    assert_eq!(scenario.injected(), None);
}

#[test]
fn all_unknown_keys_are_reported_at_their_place_with_a_suggestion() {
    let text = text("[trafic]\nrate = 1\n[expect]\ncuase = \"drain\"\nzzzzzzzzzzz = 1\n");
    let problems = problems(&text);
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{said:#?}");
    assert!(
        said.iter()
            .any(|s| s
                == "x.toml:17:2: unknown key `trafic` in the scenario; did you mean `traffic`?"),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|s| s
            .starts_with("x.toml:20:1: unknown key `cuase` in `expect`; did you mean `cause`?")),
        "{said:#?}"
    );
    assert!(
        said.iter()
            .any(|s| s.contains("the keys are") && s.contains("restored_within")),
        "{said:#?}"
    );
}

#[test]
fn wrong_types_words_and_units_are_told_with_an_example() {
    let problem = one("[steady]\nhold = 10\n");
    assert!(
        problem
            .message
            .contains("must be a text in quotes, got `10`")
            && problem.fix.contains("\"10s\""),
        "{problem}"
    );
    let problem = one("[steady]\nhold = \"10\"\n");
    assert!(
        problem.message.contains("not a duration") && problem.line == 18,
        "{problem}"
    );
    let problem = one("[expect]\ncause = \"config_revison\"\n");
    assert!(problem.fix.contains("`config_revision`"), "{problem}");
    let problem = one("[traffic]\nrate = \"900\"\n");
    assert!(problem.message.contains("must be a number"), "{problem}");
    let problem = one("[expect]\nnot_blamed = \"deployment\"\n");
    assert!(problem.message.contains("must be a list"), "{problem}");
    let problem = one("[traffic]\nrate = -1\n");
    assert!(problem.message.contains("0 to 100000"), "{problem}");
}

#[test]
fn a_missing_key_says_what_it_is_for() {
    let problems = problems("schema = 1\nname = \"x\"\n");
    assert!(
        problems
            .iter()
            .any(|p| p.message.contains("`title` is missing")),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.message.contains("`config` is missing"))
    );
}

#[test]
fn a_step_does_one_thing_at_one_time() {
    let fault = "backend_fault = { backends = [\"shop/web-1\"], refuses = true }\n";
    ok(&format!("[[step]]\nat = \"1s\"\n{fault}"));
    assert!(
        one("[[step]]\nat = \"1s\"\n")
            .message
            .contains("exactly one action, got none")
    );
    assert!(
        one(&format!("[[step]]\nat = \"1s\"\n{fault}confirm = {{}}\n"))
            .message
            .contains("got confirm, backend_fault")
    );
    assert!(
        one(&format!("[[step]]\n{fault}"))
            .message
            .contains("either `at` or `after`")
    );
    assert!(
        one(&format!("[[step]]\nat = \"90s\"\n{fault}"))
            .message
            .contains("after the end of the run")
    );
}

#[test]
fn names_that_do_not_exist_are_told_with_what_does() {
    let problem = one(
        "[[step]]\nat = \"1s\"\nbackend_fault = { backends = [\"shop/web1\"], refuses = true }\n",
    );
    assert!(
        problem.message.contains("no backend `shop/web1`") && problem.fix.contains("shop/web-1"),
        "{problem}"
    );
    assert!(
        one("[backend.web-9]\nqueue = 1\n")
            .message
            .contains("no backend `web-9`")
    );
    assert!(
        one("[[step]]\nat = \"1s\"\ndeploy = { pool = \"shopp\", version = \"v2\" }\n")
            .fix
            .contains("`shop`")
    );
    assert!(
        one("[[step]]\nat = \"1s\"\ntraffic = { stream = \"bots\", rate = 1 }\n")
            .message
            .contains("no stream `bots`")
    );
    assert!(
        one("[[step]]\nat = \"1s\"\nnetwork_fault = { zone = \"b\", loss = \"1%\" }\n")
            .message
            .contains("zone `b`")
    );
    assert!(
        one("[traffic]\nlistener = \"webb\"\n")
            .fix
            .contains("`web`")
    );
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let problem = one(
        "[[step]]\nat = \"1s\"\ncertificate = { of = \"listener:web\", expires_in = \"1s\" }\n",
    );
    assert!(
        problem
            .message
            .contains("feature `certificates` is not built"),
        "{problem}"
    );
    let text = text("").replace("title", "needs = [\"certificates\"]\ntitle");
    assert!(
        problems(&text)[0]
            .message
            .contains("feature `certificates`")
    );
    let scenario = ok("[[step]]\nat = \"1s\"\nnetwork_fault = { zone = \"a\", loss = \"1%\" }\n");
    assert_eq!(scenario.features()[0].0, Feature::Network);
    assert!(scenario.missing(Stage::Sim).is_none());
    assert!(scenario.missing(Stage::Live).unwrap().contains("`network`"));
}

#[test]
fn members_need_a_pool_that_finds_them_and_a_step_names_those_that_there_may_be() {
    let says = |more: &str, words: &str| {
        let problem = one(more);
        assert!(problem.message.contains(words), "{problem}");
    };
    says("[member.\"shop/a\"]\n", "does not find its members");
    says("[member.a]\n", "`a` is not POOL/NAME");
    says("[member.\"shp/a\"]\n", "`shp`");
    let step = |change: &str| {
        format!("[[step]]\nat = \"1s\"\ndiscovery = {{ pool = \"shop\", {change} }}\n")
    };
    says(&step("stale = true"), "does not find its members");
    let finds =
        |more: &str| text(more).replace("[pool.shop]", "[pool.shop]\nmembers = { file = \"m\" }");
    let told = |more: &str| problems(&finds(more))[0].message.clone();
    assert!(told(&step("remove = [\"b\"]")).contains("`shop/b`"));
    assert!(told(&step("add = [\"web-1\"]")).contains("backend of the configuration"));
    let new = step("add = [\"b\"]") + &step("remove = [\"b\"]");
    let read = parse(&finds(&new), "x.toml");
    assert_eq!(read.map(|s| s.missing(Stage::Live)), Ok(None));
}

#[test]
fn a_mistake_in_the_configuration_is_told_at_its_line_in_the_scenario() {
    let text = text("").replace("zone = \"a\"", "zonne = \"a\"");
    let problem = &problems(&text)[0];
    let line = text.lines().position(|l| l.starts_with("zonne")).unwrap() as u32 + 1;
    assert_eq!((problem.line, problem.column), (line, 1), "{problem}");
    assert!(
        problem.message.contains("CFG-") && problem.fix.contains("zone"),
        "{problem}"
    );
}

#[test]
fn files_are_taken_from_beside_the_scenario() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.toml"), CONFIG).unwrap();
    let scenario = "schema = 1\nname = \"x\"\ntitle = \"t\"\nconfig = { file = \"a.toml\" }\n";
    let place = directory.path().join("x.toml");
    let read = parse(scenario, place.to_str().unwrap()).unwrap();
    assert_eq!(read.config.text.as_deref(), Some(CONFIG));
    let missing = parse(
        &scenario.replace("a.toml", "b.toml"),
        place.to_str().unwrap(),
    )
    .unwrap_err();
    assert!(missing[0].message.contains("cannot be read"), "{missing:?}");
}

#[test]
fn expectations_that_cannot_be_met_are_told() {
    assert!(
        one("[expect]\nsilent = true\ncause = \"drain\"\n")
            .message
            .contains("silent")
    );
    assert!(
        one("[expect]\ndetect_within = \"5s\"\n")
            .message
            .contains("no step injects")
    );
    let apply = "[[step]]\nat = \"1s\"\napply = { set = { \"pool.shop.tolerance\" = \"30%\" } }\n";
    assert!(
        one(&format!("{apply}[expect]\nsubject = \"web-1\"\n"))
            .message
            .contains("not a subject")
    );
    assert!(
        one("[expect]\nrefused_by = [\"TRF-02\"]\n")
            .message
            .contains("no `apply` step")
    );
    let scenario = ok(&format!("{apply}[expect]\nrefused_by = [\"TRF-02\"]\n"));
    assert_eq!(
        scenario.step[0].apply.as_ref().unwrap().refused_by,
        ["TRF-02"]
    );
}

#[test]
fn the_injected_step_is_the_first_harmful_one_unless_one_is_marked() {
    let harmless =
        "[[step]]\nat = \"1s\"\napply = { set = { \"pool.shop.tolerance\" = \"30%\" } }\n";
    let deploy = "[[step]]\nat = \"2s\"\ndeploy = { pool = \"shop\", version = \"v2\" }\n";
    let fault = "[[step]]\nat = \"3s\"\ntraffic = { factor = 2 }\n";
    assert_eq!(
        ok(&format!("{harmless}{deploy}{fault}")).injected(),
        Some(2)
    );
    assert_eq!(ok(&format!("{deploy}{harmless}")).injected(), Some(1));
    let marked = deploy.replace("deploy", "injects = true\ndeploy");
    assert_eq!(
        ok(&format!("{harmless}{marked}{fault}")).injected(),
        Some(1)
    );
}

#[test]
fn a_fault_without_an_effect_is_a_forgotten_key() {
    for action in [
        "backend_fault = { backends = [\"shop/web-1\"] }",
        "dependency_fault = { pool = \"shop\" }",
        "network_fault = { zone = \"a\" }",
        "traffic = { over = \"3s\" }",
    ] {
        let problem = one(&format!("[[step]]\nat = \"1s\"\n{action}\n"));
        assert!(problem.message.contains("nothing is wrong"), "{problem}");
    }
}
