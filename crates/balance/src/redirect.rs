//! Where a redirect sends a client.
//!
//! Only what was checked goes into it: parts of the configuration, and host, path and query of a request that the
//! reader of requests took, which hold no space, no control character and no line end. What the redirect does not name
//! is left to the client where a reference can leave it: without scheme, host and port it is a path, which is right
//! behind whatever stands in front of the listener.

use evenkeel_model::config::{NewPath, PathMatch, Redirect, Scheme};

use crate::route::{Request, bare_host};

/// The `Location` for `request`, which took a route with this path. `None`: the request names no host, and the
/// redirect none either.
pub fn location(redirect: &Redirect, taken: &PathMatch, request: &impl Request) -> Option<String> {
    let mut out = String::new();
    let is_elsewhere =
        redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some();
    if is_elsewhere {
        if let Some(scheme) = redirect.scheme {
            out.push_str(scheme.as_str());
            out.push(':');
        }
        let asked = || {
            request
                .host()
                .map(bare_host)
                .filter(|host| !host.is_empty())
        };
        let host = redirect.host.as_deref().or_else(asked)?;
        out.push_str("//");
        out.push_str(host);
        let usual = redirect.scheme.map(Scheme::port);
        if let Some(port) = redirect.port.filter(|port| Some(port.get()) != usual) {
            out.push(':');
            out.push_str(&port.to_string());
        }
    }
    path(redirect, taken, request.path(), is_elsewhere, &mut out);
    match redirect.query.as_deref().or_else(|| request.query()) {
        None | Some("") => {}
        Some(query) => {
            out.push('?');
            out.push_str(query);
        }
    }
    Some(out)
}

fn path(redirect: &Redirect, taken: &PathMatch, asked: &str, is_elsewhere: bool, out: &mut String) {
    // `*` of OPTIONS is no path.
    let asked = if asked.starts_with('/') { asked } else { "/" };
    let (start, rest) = match (&redirect.path, taken) {
        (None, _) => ("", asked),
        (Some(NewPath::Whole(path)), _) => (path.as_str(), ""),
        (Some(NewPath::Prefix(new)), PathMatch::Prefix(old)) => {
            let rest = asked.strip_prefix(old.trim_end_matches('/'));
            (new.trim_end_matches('/'), rest.unwrap_or(asked))
        }
        // The parser refuses it.
        (Some(NewPath::Prefix(new)), _) => (new.as_str(), ""),
    };
    let begin = out.len();
    out.push_str(start);
    out.push_str(rest);
    // Two slashes would begin a host of the client's choice.
    let is_host = |path: &str| {
        let second = path.as_bytes().get(1);
        !is_elsewhere && matches!(second, Some(b'/' | b'\\'))
    };
    while out.get(begin..).is_some_and(is_host) {
        out.remove(begin + 1);
    }
    if out.len() == begin {
        out.push('/');
    }
}

/// `location` as a whole URL, where it is one of a request to `scheme` and `host`.
pub fn resolved(location: &str, scheme: &str, host: &str) -> String {
    if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        location.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::config::{Answer, Config, Target};
    use evenkeel_model::parse::parse;
    use proptest::prelude::*;

    use super::{location, resolved};
    use crate::route::Example;

    fn config(route: &str) -> Config {
        let text = format!(
            "[listener.web]\naddress = '127.0.0.1:80'\n[[route]]\nlistener = 'web'\n{route}\n\
             [pool.p.backend.b]\naddress = '127.0.0.1:81'\n"
        );
        let parsed = parse(&text, None);
        parsed
            .config
            .unwrap_or_else(|| panic!("{route}: {:#?}", parsed.findings))
    }

    fn sent(keys: &str, host: Option<&str>, target: &str) -> Option<String> {
        let config = config(keys);
        let route = &config.routes[0];
        let Target::Answer(Answer::Redirect(redirect)) = &route.target else {
            panic!("{keys}")
        };
        location(redirect, &route.matcher.path, &Example::get(host, target))
    }

    #[test]
    fn what_is_not_named_stays_as_it_was_asked_for() {
        let host = Some("Shop.test:8080");
        for (keys, target, expected) in [
            (
                "redirect = { scheme = 'https' }",
                "/a?b",
                "https://Shop.test/a?b",
            ),
            (
                "redirect = { scheme = 'https', port = 443 }",
                "/",
                "https://Shop.test/",
            ),
            (
                "redirect = { scheme = 'https', port = 8443 }",
                "/",
                "https://Shop.test:8443/",
            ),
            ("redirect = { port = 81 }", "/x", "//Shop.test:81/x"),
            (
                "redirect = { host = 'www.shop.test' }",
                "/a%2Fb",
                "//www.shop.test/a%2Fb",
            ),
            ("redirect = { path = '/new' }", "/old?a=b", "/new?a=b"),
            (
                "redirect = { path = '/new', query = '' }",
                "/old?a=b",
                "/new",
            ),
            (
                "redirect = { path = '/new', query = 'c' }",
                "/old?a=b",
                "/new?c",
            ),
            ("redirect = { query = 'c' }", "/old", "/old?c"),
        ] {
            assert_eq!(
                sent(keys, host, target).as_deref(),
                Some(expected),
                "{keys}"
            );
        }
    }

    #[test]
    fn a_prefix_is_replaced_or_taken_away() {
        let old = |new: &str, target: &str| {
            let keys = format!("path_prefix = '/old'\nredirect = {{ replace_prefix = '{new}' }}");
            sent(&keys, None, target).unwrap()
        };
        assert_eq!(old("/new", "/old/a?b"), "/new/a?b");
        assert_eq!(old("/new/", "/old"), "/new");
        assert_eq!(old("/", "/old/a"), "/a");
        assert_eq!(old("/", "/old?x"), "/?x");
        let all = "redirect = { replace_prefix = '/v2' }";
        assert_eq!(sent(all, None, "/a").unwrap(), "/v2/a");
    }

    #[test]
    fn no_request_chooses_the_host_that_others_are_sent_to() {
        let keys = "path_prefix = '/old'\nredirect = { replace_prefix = '/' }";
        assert_eq!(
            sent(keys, None, "/old//evil.test/x").unwrap(),
            "/evil.test/x"
        );
        assert_eq!(sent(keys, None, "/old///evil.test").unwrap(), "/evil.test");
        let keys = "redirect = { query = '' }";
        assert_eq!(sent(keys, None, "//evil.test/?a").unwrap(), "/evil.test/");
        let keys = "redirect = { host = 'a.test' }";
        assert_eq!(
            sent(keys, None, "//evil.test").unwrap(),
            "//a.test//evil.test"
        );
    }

    #[test]
    fn without_a_host_there_is_no_other_scheme_to_send_to() {
        assert_eq!(sent("redirect = { scheme = 'https' }", None, "/"), None);
        let keys = "redirect = { scheme = 'https', host = '[::1]' }";
        assert_eq!(sent(keys, None, "*").unwrap(), "https://[::1]/");
    }

    #[test]
    fn a_location_is_resolved_against_the_request() {
        let whole = |location| resolved(location, "http", "a.test:8080");
        assert_eq!(whole("/x"), "http://a.test:8080/x");
        assert_eq!(whole("//b.test/x"), "http://b.test/x");
        assert_eq!(whole("https://c.test/"), "https://c.test/");
    }

    proptest! {
        #[test]
        fn a_path_of_the_client_never_becomes_a_host(rest in "[/a.\\\\]{0,9}", new in "(/[a-z]{1,3}){0,2}/?") {
            let new = if new.is_empty() { "/" } else { &new };
            let keys = format!("path_prefix = '/o'\nredirect = {{ replace_prefix = '{new}' }}");
            let sent = sent(&keys, Some("a.test"), &format!("/o/{rest}")).unwrap();
            let is_host = sent.starts_with("//") || sent.starts_with("/\\");
            prop_assert!(sent.starts_with('/') && !is_host, "{sent}");
        }
    }
}
