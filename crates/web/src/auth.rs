//! Who may ask: Host and Origin always, a token for every change, a token for reads beyond loopback.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use evenkeel_control::{Handle, Tokens, Who};
use evenkeel_model::config::Role;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use subtle::ConstantTimeEq as _;

use crate::api::{Problem, webhooks};

/// What the check needs.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) handle: Handle,
    pub(crate) loopback: bool,
}

/// Lets a request through with its [`Who`], or refuses it.
pub(crate) async fn check(
    State(guarded): State<Guarded>,
    mut request: Request,
    next: Next,
) -> Response {
    match judge(&request, guarded.handle.tokens(), guarded.loopback) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who asks; or why the request is refused. `loopback`: whether only this machine can reach the admin address.
fn judge<B>(request: &http::Request<B>, tokens: &Tokens, loopback: bool) -> Result<Who, Problem> {
    let headers = request.headers();
    let host = host(headers, request.uri()).ok_or_else(|| {
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host must be an IP address or `localhost`; a name could be anybody's",
        )
    })?;
    if !origin_fits(headers, &host) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a page of another origin may not use this address",
        ));
    }
    // Judging a text changes nothing, it only needs a body.
    let changes = request.method() != Method::GET
        && request.method() != Method::HEAD
        && request.uri().path() != "/api/plan";
    // A message carries its signature, which is checked over its body.
    if request.method() == Method::POST && request.uri().path().starts_with(webhooks::PATH) {
        return Ok(nobody());
    }
    let refused = |why: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, why));
    if headers.contains_key(header::AUTHORIZATION) {
        return match bearer(headers).and_then(|token| owner(tokens, token)) {
            None => refused("the token is not known here"),
            Some(who) if changes && who.role < Role::Operate => {
                let message = format!("the token `{}` only reads", who.name);
                Err(Problem::new(StatusCode::FORBIDDEN, &message))
            }
            Some(who) => Ok(who),
        };
    }
    if changes {
        return refused("a change needs a token; DIR/admin.token holds one");
    }
    if !loopback {
        return refused("beyond loopback a read needs a token");
    }
    Ok(nobody())
}

fn nobody() -> Who {
    Who {
        name: "anonymous".to_owned(),
        role: Role::Read,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::trim)
}

/// Compares with every token, so that the time tells nothing.
fn owner(tokens: &Tokens, token: &str) -> Option<Who> {
    let mut found = None;
    for (who, known) in tokens.known() {
        if bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
            found = Some(who.clone());
        }
    }
    found
}

/// The host that the client meant, if it is one that cannot be rebound: an address or localhost.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let authority = uri.authority().map(ToString::to_string);
    let text = match headers.get(header::HOST) {
        Some(value) => value.to_str().ok()?.to_owned(),
        None => authority?,
    };
    let name = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => text.split(':').next()?,
    };
    (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()).then_some(text)
}

fn origin_fits(headers: &HeaderMap, host: &str) -> bool {
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => origin
            .to_str()
            .ok()
            .and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            })
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use axum::response::IntoResponse as _;
    use evenkeel_control::Tokens;
    use evenkeel_model::config::{Admin, AdminToken, Role};
    use evenkeel_model::ids::Name;
    use http::Request;

    const READER: &str = "0123456789abcdef-reader";

    /// An operator token and one that only reads.
    fn tokens() -> (Tokens, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reader");
        std::fs::write(&file, READER).unwrap();
        let admin = Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            tokens: vec![AdminToken {
                name: Name::new("dashboard").unwrap(),
                file,
                role: Role::Read,
            }],
        };
        let tokens = Tokens::load(dir.path(), &admin).unwrap();
        let operator = std::fs::read_to_string(dir.path().join("admin.token")).unwrap();
        (tokens, operator.trim().to_owned())
    }

    /// The status of a refusal, 200 for a pass.
    fn status(
        tokens: &Tokens,
        loopback: bool,
        line: (&str, &str),
        headers: &[(&str, &str)],
    ) -> u16 {
        let mut request = Request::builder().method(line.0).uri(line.1);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match judge(&request.body(()).unwrap(), tokens, loopback) {
            Ok(_) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    const READ: (&str, &str) = ("GET", "/api/status");
    const CHANGE: (&str, &str) = ("POST", "/api/apply");
    const HERE: (&str, &str) = ("host", "127.0.0.1:7700");

    #[test]
    fn a_read_needs_a_token_only_beyond_loopback_and_a_change_always() {
        let (tokens, operator) = tokens();
        let bearer = format!("Bearer {operator}");
        let with = [HERE, ("authorization", bearer.as_str())];
        assert_eq!(status(&tokens, true, READ, &[HERE]), 200);
        assert_eq!(status(&tokens, false, READ, &[HERE]), 401);
        assert_eq!(status(&tokens, false, READ, &with), 200);
        assert_eq!(status(&tokens, true, CHANGE, &[HERE]), 401);
        assert_eq!(status(&tokens, true, CHANGE, &with), 200);
        assert_eq!(
            status(&tokens, true, ("DELETE", "/api/status"), &[HERE]),
            401
        );
        assert_eq!(status(&tokens, true, ("POST", "/api/plan"), &[HERE]), 200);
        assert_eq!(status(&tokens, false, ("POST", "/api/plan"), &[HERE]), 401);
    }

    #[test]
    fn a_message_needs_no_token_since_it_is_signed_and_nothing_beside_it_goes_in_with_it() {
        let (tokens, _) = tokens();
        let of = |line| status(&tokens, false, line, &[HERE]);
        assert_eq!(of(("POST", "/api/webhooks/argo")), 200);
        assert_eq!(of(("GET", "/api/webhooks/argo")), 401);
        assert_eq!(of(("PUT", "/api/webhooks/argo")), 401);
        assert_eq!(of(("POST", "/api/webhooks")), 401);
        let elsewhere = [("host", "evil.example")];
        let line = ("POST", "/api/webhooks/argo");
        assert_eq!(status(&tokens, true, line, &elsewhere), 421);
    }

    #[test]
    fn a_token_that_only_reads_changes_nothing_and_a_wrong_one_does_not_even_read() {
        let (tokens, operator) = tokens();
        let reader = format!("Bearer {READER}");
        let reader = [HERE, ("authorization", reader.as_str())];
        assert_eq!(status(&tokens, false, READ, &reader), 200);
        assert_eq!(status(&tokens, true, CHANGE, &reader), 403);
        let almost = format!("Bearer {}", &operator[..operator.len() - 1]);
        let more = format!("Bearer {operator}0");
        for wrong in [
            "Bearer ",
            "Bearer x",
            "Basic YTpi",
            &operator,
            &almost,
            &more,
        ] {
            let wrong = [HERE, ("authorization", wrong)];
            assert_eq!(status(&tokens, true, READ, &wrong), 401, "{wrong:?}");
        }
    }

    #[test]
    fn a_name_that_could_be_rebound_is_not_served() {
        let (tokens, _) = tokens();
        let of = |host| status(&tokens, true, READ, &[("host", host)]);
        for good in [
            "127.0.0.1",
            "localhost:7700",
            "LOCALHOST",
            "[::1]:7700",
            "10.0.0.7:7700",
        ] {
            assert_eq!(of(good), 200, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:7700",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[evil]",
        ] {
            assert_eq!(of(bad), 421, "{bad}");
        }
        assert_eq!(status(&tokens, true, READ, &[]), 421);
    }

    #[test]
    fn a_page_of_another_origin_gets_nothing() {
        let (tokens, _) = tokens();
        let of = |origin| status(&tokens, true, READ, &[HERE, ("origin", origin)]);
        assert_eq!(of("http://127.0.0.1:7700"), 200);
        for bad in [
            "http://evil.example",
            "http://127.0.0.1:7701",
            "http://127.0.0.1",
            "null",
            "",
        ] {
            assert_eq!(of(bad), 403, "{bad}");
        }
    }
}
