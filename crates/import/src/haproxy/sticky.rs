//! Who returns to the server it had: `stick`, `persist rdp-cookie`, `cookie`.

use std::collections::BTreeMap;

use evenkeel_model::setup::{Sticky, Wait};

use crate::haproxy::build::Tables;
use crate::haproxy::desk::{Desk, shorten};
use crate::haproxy::keys::Values;
use crate::haproxy::proxy::Proxy;

/// Who returns to the server it had.
pub(super) fn sticky(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    tables: &Tables<'_>,
) -> Option<Sticky> {
    let path = format!("{}.sticky", proxy.path);
    let mut sticky = None;
    if let Some(stick) = proxy.sticks.first() {
        let lasts = tables.lasts(desk, proxy, stick);
        desk.place(&path, &stick.range);
        sticky = Some(Sticky {
            path: path.clone(),
            by: stick.value.by.clone(),
            lasts,
            one_key: matches!(tables.values(proxy, &stick.value.variety), Values::One(_)),
        });
    }
    if let Some(at) = proxy
        .inherited
        .rdp_cookie
        .as_ref()
        .filter(|_| sticky.is_none())
    {
        desk.place(&path, &at.range);
        sticky = Some(Sticky {
            path: path.clone(),
            by: "rdp-cookie".to_owned(),
            lasts: Wait::Endless,
            one_key: false,
        });
    }
    cookie(desk, proxy, path).or(sticky)
}

fn cookie(desk: &mut Desk<'_, '_>, proxy: &Proxy, path: String) -> Option<Sticky> {
    let cookie = proxy.inherited.cookie.as_ref()?;
    // A backup without a value is common: nobody shall stay with it.
    let active = || {
        let active = proxy.servers.iter();
        active.filter(|server| server.settings.backup.is_none())
    };
    let named = active()
        .filter(|server| server.settings.cookie.is_some())
        .count();
    if !proxy.inherited.is_http {
        desk.unheeded(
            &cookie.range,
            "`cookie` is not heeded in `mode tcp`",
            "no client returns to the server it had",
            "set `mode http`, or remove it",
        );
        return None;
    }
    let all = active().count();
    if named < all && !cookie.value.is_dynamic {
        let message = format!(
            "`cookie {}` is set and {} of {all} servers have no `cookie` value",
            cookie.value.name,
            all - named
        );
        let effect = "no client returns to those servers; whoever was sent there is balanced anew";
        desk.unheeded(
            &cookie.range,
            &message,
            effect,
            "give every server a `cookie` value",
        );
    }
    if named == 0 && !cookie.value.is_dynamic {
        return None;
    }
    twins(desk, proxy);
    desk.place(&path, &cookie.range);
    Some(Sticky {
        path,
        by: format!("cookie {}", cookie.value.name),
        lasts: cookie.value.lasts,
        one_key: false,
    })
}

/// Servers that share a value of the cookie: the first of them in file order that is up gets whoever shows it.
fn twins(desk: &mut Desk<'_, '_>, proxy: &Proxy) {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for server in &proxy.servers {
        let settings = &server.settings;
        let takes_part = settings.backup.is_none() && settings.disabled.is_none();
        let Some(value) = settings.cookie.as_ref().filter(|_| takes_part) else {
            continue;
        };
        let Some(twin) = first.get(value.value.as_str()) else {
            first.insert(&value.value, &server.name);
            continue;
        };
        let message = format!(
            "servers `{}` and `{}` have the same `cookie` value `{}`",
            shorten(twin),
            shorten(&server.name),
            shorten(&value.value)
        );
        let effect = format!(
            "whoever comes back goes to `{}` while it is up; `{}` keeps none of its clients",
            shorten(twin),
            shorten(&server.name)
        );
        let fix = "give every server a `cookie` value of its own";
        desk.unheeded(&value.range, &message, &effect, fix);
    }
}
