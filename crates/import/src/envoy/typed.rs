//! `typed_config`: a message that says itself what it is.

use crate::book::Book;
use crate::envoy::fields::{Fields, scalar};
use crate::envoy::node::{Place, brief};

/// An opened extension.
pub(super) struct Typed<'n> {
    /// Full name of the message without the part before the `/`; empty when there is no `typed_config`.
    pub(super) name: String,
    /// The name under which the extension is set up, such as `envoy.filters.http.router`.
    pub(super) alias: String,
    pub(super) fields: Fields<'n>,
    /// Where the extension stands.
    pub(super) place: Option<Place>,
}

/// Opens the extension `holder`, which has a `name` and a `typed_config`. `None`, with an error, for a wrong shape.
/// Fields of the holder that are neither are left to the caller, who hands in a holder of which it took its own.
pub(super) fn typed<'n>(book: &mut Book<'_>, mut holder: Fields<'n>) -> Option<Typed<'n>> {
    let alias = holder.text(book, "name").unwrap_or("").to_owned();
    let place = holder.start();
    let fields = match holder.take("typed_config") {
        Some(node) => Fields::open(book, node, &holder.at("typed_config"))?,
        None => Fields::empty(&holder.at("typed_config")),
    };
    let harmless = ["is_optional", "disabled", "config_discovery"];
    holder.close(book, &harmless, &evenkeel_model::setup::Touches::Resilience);
    Some(of_any(book, fields, alias, place))
}

/// The message in `any`, which carries its type in `@type`.
pub(super) fn of_any<'n>(
    book: &mut Book<'_>,
    mut any: Fields<'n>,
    alias: String,
    place: Option<Place>,
) -> Typed<'n> {
    let name = type_name(any.take("@type").and_then(scalar));
    if !name.ends_with(".TypedStruct") {
        return Typed {
            name,
            alias,
            fields: any,
            place,
        };
    }
    let inner = type_name(any.take("type_url").and_then(scalar));
    let path = any.path.clone();
    let value = any.take("value");
    let fields = value.and_then(|node| Fields::open(book, node, &path));
    Typed {
        name: inner,
        alias,
        fields: fields.unwrap_or_else(|| Fields::empty(&path)),
        place,
    }
}

/// What stands after the last `/`.
fn type_name(url: Option<&str>) -> String {
    let url = url.unwrap_or("");
    brief(url.rsplit('/').next().unwrap_or(url))
}
