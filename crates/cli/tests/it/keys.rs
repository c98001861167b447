//! Keys on the real binary: a key that brings far more than its part is seen and explained.

use crate::support::{Home, PATIENCE, heavy, stubs};
use crate::wire::{Honest, addresses, config};

#[test]
fn a_hot_key_is_named_with_its_part_and_its_backend() {
    let _alone = heavy();
    let stubs = stubs();
    // Every client of this test has the same address.
    let pool = "algorithm = \"maglev\"\nhash = { client_address = true }\n";
    let home = Home::new(&config(&addresses(&stubs), "", pool));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    let status = instance.when("the hot key is seen", PATIENCE, |s| {
        s["pools"][0]["hot_key"]["part"].as_f64() > Some(0.99)
    });
    let pool = &status["pools"][0];
    let owner = &pool["hot_key"]["backend"];
    let backends = pool["backends"].as_array().unwrap();
    for backend in backends {
        let reason = backend["reason"].as_str().unwrap();
        let says = reason.contains("one key of this backend brings 100 %");
        assert_eq!(says, &backend["name"] == owner, "{backend}");
    }
    traffic.unharmed();
}
