//! Which backends this instance prefers or keeps to, by where and which it is: `zone`, `zone_aware`,
//! `[pool.NAME.zone.ZONE]`, `instance`, `subset`.

use std::collections::BTreeSet;

use super::reader::{Reader, Report, Section, list};
use super::reference::sub;
use super::typed::Limits;
use super::{BACKENDS_MAX, OPERATIONS_MAX, keys, too_many};
use crate::config::{Backend, Here, Locality, Place, Subset};
use crate::ids::Name;
use crate::units::Ratio;

pub(super) const ORIGIN: Limits<Ratio> = Limits {
    min: Ratio::from_percent(0),
    max: Ratio::from_percent(100),
    outside: "no more than all of the traffic can come in somewhere",
};

pub(super) const SUBSET_SIZE: Limits<u32> = Limits {
    min: 1,
    max: BACKENDS_MAX as u32,
    outside: "no backend would be used, or the subset is larger than any pool",
};

/// Names that a message shows of many.
const SHOWN: usize = 3;

/// The top level.
pub(super) fn here(reader: &mut Reader, root: &Section<'_>) -> Here {
    Here {
        zone: root.name(reader, "zone"),
        instance: root.name(reader, "instance"),
    }
}

/// What `s`, a pool with these backends, says of places.
pub(super) fn read(
    reader: &mut Reader,
    s: &Section<'_>,
    here: &Here,
    (backends, min_healthy): (&[Backend], u32),
) -> Place {
    let origins = origins(reader, s);
    let is_aware = s.boolean(reader, "zone_aware").unwrap_or(false);
    let subset = subset(reader, s, here, (backends, min_healthy));
    if !is_aware {
        if s.has("zone") {
            let report = Report {
                id: "CFG-07",
                message: format!(
                    "`{}.zone` is written, but the pool is not `zone_aware`",
                    s.path
                ),
                effect: "it would change nothing: every zone is alike to this instance".to_owned(),
                fix: "write `zone_aware = true`, or remove the zones".to_owned(),
            };
            reader.error(&s.child_path("zone"), s.span.clone(), report);
        }
        return Place {
            subset,
            locality: None,
        };
    }
    if s.has("subset") {
        let report = Report {
            id: "CFG-07",
            message: format!("`{}` has both `zone_aware` and `subset`", s.path),
            effect: "by chance a subset may hold nobody of the own zone".to_owned(),
            fix: "keep one of them".to_owned(),
        };
        reader.error(&s.child_path("subset"), s.span.clone(), report);
    }
    let locality = locality(reader, s, here, origins);
    if let Some(locality) = &locality {
        unplaced(reader, s, backends);
        few_at_home(reader, s, &locality.zone, (backends, min_healthy));
    }
    Place {
        locality,
        subset: None,
    }
}

fn subset(
    reader: &mut Reader,
    s: &Section<'_>,
    here: &Here,
    (backends, min_healthy): (&[Backend], u32),
) -> Option<Subset> {
    let inner = sub(reader, s, "subset", &keys::SUBSET)?;
    inner.require(
        reader,
        "size",
        "every backend would be used",
        "subset = { size = 20 }",
    );
    let size = inner.integer(reader, "size", &SUBSET_SIZE);
    if here.instance.is_none() {
        let report = Report {
            id: "CFG-04",
            message: format!("`{}` needs the name of this instance", inner.path),
            effect: "every instance would use the same backends, and the others would be idle"
                .to_owned(),
            fix: "write `instance = \"lb-1\"` at the top of the file, another number in each"
                .to_owned(),
        };
        reader.error(&inner.path, inner.span.clone(), report);
    }
    let (size, instance) = size.zip(here.instance.clone())?;
    let found = inner.get(reader, "size")?;
    let count = backends.iter().filter(|b| b.weight > 0).count();
    if size < min_healthy {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is {size}, fewer than min_healthy {min_healthy}",
                found.path
            ),
            effect: "this instance would always be below the floor that it must keep".to_owned(),
            fix: format!("write at least {min_healthy}, or lower `min_healthy`"),
        };
        reader.error(&found.path, found.span, report);
    } else if size as usize >= count && count > 0 && !s.has("members") {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is {size}, and no more than {count} backends take traffic",
                found.path
            ),
            effect: "it changes nothing: this instance uses all of them".to_owned(),
            fix: "write fewer, or remove `subset`".to_owned(),
        };
        reader.warning(&found.path, found.span, report);
    }
    Some(Subset { size, instance })
}

fn locality(
    reader: &mut Reader,
    s: &Section<'_>,
    here: &Here,
    origins: Vec<(Name, Ratio)>,
) -> Option<Locality> {
    let found = s.get(reader, "zone_aware")?;
    if here.zone.is_none() {
        let report = Report {
            id: "CFG-04",
            message: format!("`{}` needs the zone of this instance", found.path),
            effect: "no zone could be preferred".to_owned(),
            fix: "write `zone = \"a\"` at the top of the file".to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
    Some(Locality {
        zone: here.zone.clone()?,
        origins,
    })
}

/// `[pool.NAME.zone.ZONE] origin`.
fn origins(reader: &mut Reader, s: &Section<'_>) -> Vec<(Name, Ratio)> {
    let mut named = s.named(reader, "zone");
    if named.len() > OPERATIONS_MAX {
        let report = too_many("zones of one pool", OPERATIONS_MAX, named.len());
        reader.error(&s.child_path("zone"), s.span.clone(), report);
        named.truncate(OPERATIONS_MAX);
    }
    let mut origins = Vec::new();
    let mut sum = 0u64;
    for named in named {
        let Some(zone) = reader.section(named.path.clone(), named.value, &keys::POOL_ZONE) else {
            continue;
        };
        zone.require(
            reader,
            "origin",
            "how much comes in there would not be known",
            "origin = \"40%\"",
        );
        let origin = zone.ratio(reader, "origin", &ORIGIN);
        sum += origin.map_or(0, |origin| u64::from(origin.ppm()));
        origins.extend(named.name.zip(origin));
    }
    if sum > u64::from(Ratio::from_percent(100).ppm()) {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "the origins of `{}.zone` add up to {} %, more than all of the traffic",
                s.path,
                sum as f64 / 10_000.0
            ),
            effect: "what each zone may keep for itself would not be known".to_owned(),
            fix: "write parts that add up to 100 % at most".to_owned(),
        };
        reader.error(&s.child_path("zone"), s.span.clone(), report);
    }
    origins
}

/// A backend without a zone could be nobody's.
fn unplaced(reader: &mut Reader, s: &Section<'_>, backends: &[Backend]) {
    let names = backends.iter().filter(|b| b.zone.is_none());
    let names: Vec<&str> = names.map(|b| b.name.as_str()).collect();
    let Some(first) = names.first() else {
        return;
    };
    let shown: Vec<&str> = names.iter().take(SHOWN).copied().collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let report = Report {
        id: "CFG-04",
        message: format!(
            "`{}` is zone_aware, but {}{more} {} in no zone",
            s.path,
            list(&shown),
            if names.len() == 1 { "is" } else { "are" }
        ),
        effect: "no instance would prefer it, and all would send there what is left".to_owned(),
        fix: "write the `zone` of every backend of the pool".to_owned(),
    };
    reader.error(
        &s.child_path(&format!("backend.{first}.zone")),
        s.span.clone(),
        report,
    );
}

/// The zone of the instance is not one of the pool, or too small for what `min_healthy` asks.
fn few_at_home(
    reader: &mut Reader,
    s: &Section<'_>,
    zone: &Name,
    (backends, min_healthy): (&[Backend], u32),
) {
    let Some(found) = s.get(reader, "zone_aware") else {
        return;
    };
    let zones: BTreeSet<&Name> = backends.iter().filter_map(|b| b.zone.as_ref()).collect();
    let at_home = backends.iter().filter(|b| b.zone.as_ref() == Some(zone));
    let at_home = at_home.filter(|b| b.weight > 0).count();
    // Members that are found later may stand in any zone.
    let is_open = s.has("members");
    let report = if zones.len() == 1 && zones.contains(zone) && !is_open {
        Report {
            id: "CFG-06",
            message: format!(
                "`{}` is set, but all backends are in zone `{zone}`",
                found.path
            ),
            effect: "there is no other zone to prefer it to".to_owned(),
            fix: "remove `zone_aware`, or put right the zones of the backends".to_owned(),
        }
    } else if at_home == 0 && !is_open && !zones.is_empty() {
        let zones: Vec<&str> = zones.iter().map(|zone| zone.as_str()).take(SHOWN).collect();
        Report {
            id: "CFG-06",
            message: format!(
                "no backend of `{}` takes traffic in zone `{zone}` of this instance, only in {}",
                s.path,
                list(&zones)
            ),
            effect: "all of its requests go to other zones".to_owned(),
            fix: "check `zone` at the top of the file, or the zones of the backends".to_owned(),
        }
    } else if at_home > 0 && at_home < min_healthy as usize && !is_open {
        Report {
            id: "CFG-06",
            message: format!(
                "zone `{zone}` has {at_home} backends of `{}`, fewer than min_healthy {min_healthy}",
                s.path
            ),
            effect: format!(
                "the zone is preferred for {:.0} % of its traffic only, however healthy it is",
                100.0 * at_home as f64 / f64::from(min_healthy)
            ),
            fix: format!("write at most {at_home} as `min_healthy`, or add backends to the zone"),
        }
    } else {
        return;
    };
    reader.warning(&found.path, found.span, report);
}
