//! Routing by host and path: first match wins, whole segments, what matches nothing is 404.

use std::process::Command;

use crate::support::{Home, run};
use crate::wire::{Origin, exchange};

#[test]
fn the_first_route_that_matches_host_and_whole_segments_wins() {
    let pools = ["api", "cart", "wild", "shop"];
    let origins: Vec<Origin> = pools.iter().map(|label| Origin::saying(label)).collect();
    let mut text =
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
    let routes = [
        ("host = \"api.shop.test\"\n", "/", "api"),
        ("host = \"www.shop.test\"\n", "/cart", "cart"),
        ("host = \"*.shop.test\"\n", "/", "wild"),
        ("host = \"www.shop.test\"\n", "/never", "api"),
        ("host = \"plain.test\"\n", "/static", "shop"),
    ];
    for (host, path, pool) in routes {
        let more = format!(
            "[[route]]\nlistener = \"web\"\n{host}path_prefix = \"{path}\"\npool = \"{pool}\"\n"
        );
        text += &more;
    }
    for (pool, origin) in pools.iter().zip(&origins) {
        let address = origin.text();
        let more = format!("[pool.{pool}.backend.one]\naddress = \"{address}\"\n");
        text += &more;
    }
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let cases = [
        ("api.shop.test", "/cart", "api"),
        ("API.Shop.Test:8080", "/x", "api"),
        ("www.shop.test", "/cart", "cart"),
        ("www.shop.test", "/cart/", "cart"),
        ("www.shop.test", "/cart?x=1", "cart"),
        ("www.shop.test", "/cart/items/1", "cart"),
        ("www.shop.test", "/cartoon", "wild"),
        ("www.shop.test", "/", "wild"),
        ("www.shop.test", "/never", "wild"),
        ("a.b.shop.test", "/", "wild"),
        ("plain.test", "/static/app.js", "shop"),
    ];
    for (host, path, pool) in cases {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(instance.front(), head.as_bytes());
        assert_eq!(
            (answer.status(), answer.body()),
            (200, pool),
            "{host} {path}"
        );
    }
    for (host, path) in [
        ("plain.test", "/"),
        ("plain.test", "/staticfile"),
        ("shop.test", "/"),
        ("127.0.0.1", "/static"),
        ("evilshop.test", "/"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(instance.front(), head.as_bytes());
        assert_eq!(answer.status(), 404, "{host} {path}");
        assert_eq!(answer.field("x-evenkeel-error"), Some("no_route"));
    }
}

#[test]
fn an_absolute_target_is_routed_by_its_authority_and_not_by_host() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nlistener = \"web\"\nhost = \"one.test\"\npath_prefix = \"/\"\npool = \"one\"\n\
         [[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"two\"\n\
         [pool.one.backend.b]\naddress = \"{}\"\n[pool.two.backend.b]\naddress = \"{}\"\n",
        one.text(),
        two.text()
    );
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let request = "GET http://one.test/x HTTP/1.1\r\nhost: two.test\r\nconnection: close\r\n\r\n";
    let answer = exchange(instance.front(), request.as_bytes());
    assert_eq!((answer.status(), answer.body()), (200, "one"));
    // The origin sees one host only: no second opinion about who was meant.
    assert!(!one.heads()[0].contains("two.test"), "{:?}", one.heads());
}

#[test]
fn curl_reaches_the_pool_of_the_first_route_whose_every_condition_it_meets() {
    let pools = ["next", "write", "status", "shop"];
    let origins: Vec<Origin> = pools.iter().map(|label| Origin::saying(label)).collect();
    let mut text =
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
    let routes = [
        "path_prefix = \"/checkout\"\ncookies = { beta = \"yes\" }",
        "path_regex = \"/orders(/[0-9]+)?\"\nmethods = [\"POST\", \"DELETE\"]",
        "path = \"/status\"\nheaders = { x-probe = { prefix = \"uptime\" } }\nquery = { full = { present = false } }",
        "",
    ];
    for ((keys, pool), origin) in routes.iter().zip(pools).zip(&origins) {
        let address = origin.text();
        let more = format!("[[route]]\nlistener = \"web\"\npool = \"{pool}\"\n{keys}\n");
        text += &more;
        let more = format!("[pool.{pool}.backend.one]\naddress = \"{address}\"\n");
        text += &more;
    }
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let cases: [(&[&str], &str, &str); 9] = [
        (&["-b", "a=1; beta=yes"], "/checkout/1", "next"),
        (&["-b", "beta=no"], "/checkout/1", "shop"),
        (&["-X", "DELETE"], "/orders/17?why=none", "write"),
        (&["-d", "item=1"], "/orders", "write"),
        (&[], "/orders/17", "shop"),
        (&["-X", "DELETE"], "/orders/x", "shop"),
        (&["-H", "X-Probe: uptime/2"], "/status", "status"),
        (&["-H", "X-Probe: uptime/2"], "/status?full", "shop"),
        (&["--path-as-is"], "/a/../b%2Fc", "shop"),
    ];
    let curl = |arguments: &[&str], target: &str| {
        let url = format!("http://{}{target}", instance.front());
        let fixed = ["-sS", "--max-time", "30", "--noproxy", "*"];
        run(Command::new("curl").args(fixed).args(arguments).arg(url))
    };
    for (arguments, target, pool) in cases {
        let ran = curl(arguments, target);
        assert_eq!(ran.out, pool, "{arguments:?} {target}: {}", ran.err);
    }
    // What a backend could read as the path of another route is nobody's.
    for target in ["/x/../status", "//status", "/%73tatus", "/status;v=1"] {
        let ran = curl(&["--path-as-is", "-H", "X-Probe: uptime", "-i"], target);
        assert!(
            ran.out.starts_with("HTTP/1.1 400 "),
            "{target}: {}",
            ran.out
        );
        assert!(
            ran.out.contains("X-Evenkeel-Error: ambiguous_path"),
            "{target}: {}",
            ran.out
        );
    }
}

#[test]
fn curl_follows_redirects_and_gets_fixed_answers() {
    let origin = Origin::saying("shop");
    let mut text =
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
    for keys in [
        "path_prefix = \"/old\"\nredirect = { replace_prefix = \"/new\", status = 308 }",
        "path = \"/moved\"\nredirect = { path = \"/old/x\", query = \"\" }",
        "path_prefix = \"/secure\"\nredirect = { scheme = \"https\", host = \"www.shop.test\" }",
        "path = \"/health\"\nrespond = { status = 200, body = \"fine\\n\", headers = { cache-control = \"no-store\" } }",
        "pool = \"shop\"",
    ] {
        let more = format!("[[route]]\nlistener = \"web\"\n{keys}\n");
        text += &more;
    }
    text += "[[expect]]\nrequest = \"GET /moved?x\"\nredirect = \"/old/x\"\nstatus = 302\n";
    let more = format!("[pool.shop.backend.one]\naddress = \"{}\"\n", origin.text());
    text += &more;
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let curl = |arguments: &[&str], target: &str| {
        let url = format!("http://{}{target}", instance.front());
        let fixed = ["-sS", "--max-time", "30", "--noproxy", "*"];
        run(Command::new("curl").args(fixed).args(arguments).arg(url))
    };
    let told = [
        "-L",
        "-w",
        " %{http_code} %{num_redirects} %{url_effective}",
    ];
    let own = format!("http://{}", instance.front());
    let ran = curl(&told, "/old/a?b");
    assert_eq!(ran.out, format!("shop 200 1 {own}/new/a?b"), "{}", ran.err);
    let ran = curl(&told, "/moved?x");
    assert_eq!(ran.out, format!("shop 200 2 {own}/new/x"), "{}", ran.err);
    // 308 keeps method and body, on a connection of its own.
    let ran = curl(&[&told[..], &["-d", "item=1"]].concat(), "/old/a");
    assert_eq!(ran.out, format!("shop 200 1 {own}/new/a"), "{}", ran.err);
    let last = origin.heads().pop().unwrap();
    assert!(last.starts_with("POST /new/a HTTP/1.1\r\n"), "{last}");
    let ran = curl(&["-i"], "/secure/x?y");
    assert!(ran.out.starts_with("HTTP/1.1 302 Found\r\n"), "{}", ran.out);
    assert!(
        ran.out
            .contains("Location: https://www.shop.test/secure/x?y\r\n"),
        "{}",
        ran.out
    );
    let ran = curl(&["-i"], "/health");
    assert!(
        ran.out.contains("cache-control: no-store\r\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("\r\n\r\nfine\n"), "{}", ran.out);
    let head = curl(&["-I"], "/health");
    assert!(head.out.contains("Content-Length: 5\r\n"), "{}", head.out);
}

#[test]
fn what_a_route_changes_reaches_backend_and_client_over_a_reload() {
    let origin = Origin::saying("shop");
    let file = |to: &str| {
        format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nlistener = \"web\"\npath_prefix = \"/api\"\npool = \"shop\"\n\
             rewrite = {{ replace_prefix = \"{to}\", host = \"api.internal\" }}\n\
             request_headers = {{ set = {{ x-client = \"{{client_ip}}\" }}, remove = [\"cookie\"] }}\n\
             response_headers = {{ set = {{ x-path = \"{{path}}\" }} }}\n\
             [pool.shop.backend.one]\naddress = \"{}\"\n",
            origin.text()
        )
    };
    let home = Home::new(&file("/v1"));
    let instance = home.start(&[]);
    let curl = |target: &str| {
        let url = format!("http://{}{target}", instance.front());
        let fixed = ["-sS", "--max-time", "30", "--noproxy", "*"];
        let own = ["-i", "-b", "a=1", "-H", "X-Client: me", "--path-as-is"];
        run(Command::new("curl").args(fixed).args(own).arg(url))
    };
    let asked = |target: &str, first: &str| {
        let ran = curl(target);
        assert!(ran.out.starts_with("HTTP/1.1 200 "), "{}", ran.out);
        let path = target.split('?').next().unwrap_or_default();
        assert!(
            ran.out.contains(&format!("x-path: {path}\r\n")),
            "{}",
            ran.out
        );
        let head = origin.heads().pop().unwrap();
        let begins = format!("GET {first} HTTP/1.1\r\nHost: api.internal\r\n");
        assert!(head.starts_with(&begins), "{head}");
        assert_eq!(head.matches("x-client: 127.0.0.1\r\n").count(), 1, "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(
            !lower.contains("cookie:") && !lower.contains("x-client: me"),
            "{head}"
        );
    };
    asked("/api/users?page=2", "/v1/users?page=2");
    let ran = curl("/api/a/..;/b");
    assert!(
        ran.out.contains("X-Evenkeel-Error: rewritten_path"),
        "{}",
        ran.out
    );
    home.write("next.toml", &file("/v2"));
    let plan = instance.cli(&["plan", "next.toml"]);
    assert!(
        plan.out.contains("replace_prefix: \"/v1\" -> \"/v2\""),
        "{} {}",
        plan.out,
        plan.err
    );
    let reason = [
        "apply",
        "next.toml",
        "--yes",
        "--reason",
        "v2",
        "--wait",
        "0",
    ];
    instance.cli(&reason);
    asked("/api/users", "/v2/users");
}

#[test]
fn an_instance_that_only_redirects_needs_no_pool_until_it_gets_one() {
    let text = "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
                [[route]]\nlistener = \"web\"\nredirect = { scheme = \"https\" }\n";
    let home = Home::new(text);
    let instance = home.start(&[]);
    let request = b"GET /a HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    let answer = exchange(instance.front(), request);
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.field("location"), Some("https://shop.test/a"));
    assert_eq!(instance.status()["revision"], "r1");
    let origin = Origin::saying("shop");
    let address = origin.text();
    let more = format!(
        "[[route]]\nlistener = \"web\"\npath = \"/shop\"\npool = \"shop\"\n[pool.shop.backend.one]\naddress = \"{address}\"\n"
    );
    let route = "[[route]]\nlistener = \"web\"\nredirect";
    let (pool, redirect) = (more, &text[text.find(route).unwrap()..]);
    let listeners = &text[..text.find(route).unwrap()];
    home.write("next.toml", &format!("{listeners}{pool}{redirect}"));
    // Nobody has asked for the pool yet, so there is no evidence; it is in force all the same.
    instance.cli(&[
        "apply",
        "next.toml",
        "--yes",
        "--reason",
        "shop",
        "--wait",
        "1s",
    ]);
    let request = b"GET /shop HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(instance.front(), request).body(), "shop");
}
