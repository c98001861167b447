//! Requests whose way is known: a file that sends one elsewhere is told by `check` and `plan`, and refused by `apply`.

use serde_json::Value;

use crate::support::{Home, addresses, config, nobody, request, stubs};

const EXPECT: &str =
    "\n[[expect]]\nrequest = \"GET https://shop.example/cart?id=1\"\npool = \"shop\"\n";

fn of_rule(answer: &Value) -> Vec<&Value> {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings
        .filter(|f| f["id"] == "TRF-09" && f["severity"] == "error")
        .collect()
}

#[test]
fn an_expectation_that_does_not_hold_is_an_error_of_check_and_of_an_offline_plan() {
    let met = config(&nobody(), [1, 1, 1], EXPECT);
    let home = Home::new(&met);
    home.write(
        "lost.toml",
        &met.replace("path_prefix = \"/\"", "path_prefix = \"/carts\""),
    );
    home.ends("check evenkeel.toml --deny warnings", 0);
    let ran = home.ends("--json check lost.toml", 78).json();
    let [finding] = of_rule(&ran)[..] else {
        panic!("{ran:#}")
    };
    let message = finding["message"].as_str().unwrap();
    assert_eq!(
        message,
        "`GET https://shop.example/cart?id=1` is meant for pool `shop` but is answered 404: no route takes it; the \
         route in line 7 does not take it: it is for paths under `/carts`"
    );
    let line = met.lines().position(|line| line == "[[expect]]").unwrap() + 1;
    assert_eq!(
        finding["line"].as_u64().unwrap(),
        line as u64,
        "{finding:#}"
    );
    home.ends("plan lost.toml --offline --current evenkeel.toml", 3);
    // What is there already never blocks its repair, nor another change.
    home.ends("plan lost.toml --offline --current lost.toml", 0);
    home.ends("plan evenkeel.toml --offline --current lost.toml", 0);
}

#[test]
fn an_apply_that_breaks_an_expectation_is_refused_and_nothing_changes() {
    let backends = stubs();
    let met = config(&addresses(&backends), [1, 1, 1], EXPECT);
    let home = Home::new(&met);
    let instance = home.start(&[]);
    home.write(
        "lost.toml",
        &met.replace("path_prefix = \"/\"", "path_prefix = \"/carts\""),
    );
    let refused = instance
        .ends("--json apply lost.toml --yes --reason typo", 3)
        .json();
    assert_eq!(refused["state"], "refused");
    assert_eq!(of_rule(&refused).len(), 1, "{refused:#}");
    assert_eq!(instance.status()["revision"], "r1");
    let head = "GET /cart HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let (answer, _) = request(instance.front(), head);
    assert!(!answer.contains("no_route"), "{answer}");
}
