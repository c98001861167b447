//! The page as a reader gets it: whole pages as snapshots, and what must never happen as checks.

use super::chart;
use super::screen::Screen;
use crate::sample;
use evenkeel_guard::{Status, Verdict};
use evenkeel_model::clock::Wall;

/// One tag a line, so that a snapshot can be read and compared.
fn lines(html: &str) -> String {
    html.replace("><", ">\n<")
}

fn page(state: &sample::State) -> String {
    state.screen().page().into_string()
}

#[test]
fn a_balanced_pool_reads_as_ok_in_all_five_answers() {
    insta::assert_snapshot!("ok", lines(&page(&sample::ok())));
}

#[test]
fn a_new_revision_reads_as_verifying_with_what_is_missing() {
    insta::assert_snapshot!("verifying", lines(&page(&sample::verifying())));
}

#[test]
fn an_overloaded_backend_reads_as_an_incident_that_nobody_has() {
    insta::assert_snapshot!("incident", lines(&page(&sample::incident())));
}

#[test]
fn too_little_traffic_reads_as_not_enough_data_and_never_as_zero() {
    let html = page(&sample::quiet());
    assert!(html.contains("not enough data"));
    assert!(html.contains("Not known: too little traffic"));
    assert!(!html.contains(">0.0<"), "an unknown figure reads as zero");
    insta::assert_snapshot!("quiet", lines(&html));
}

#[test]
fn everything_that_needs_a_person_at_once_is_on_the_screen() {
    insta::assert_snapshot!("all-at-once", lines(&page(&sample::all_at_once())));
}

#[test]
fn an_incident_page_shows_times_candidates_actions_and_timeline() {
    let (record, timeline) = sample::incident_record();
    let html = super::incident::page(&record, &timeline, sample::NOW).into_string();
    insta::assert_snapshot!("incident-page", lines(&html));
}

#[test]
fn a_revision_page_shows_what_it_changed() {
    let (record, parent) = sample::revisions();
    let html = super::revision::page(&record, Some(&parent), sample::NOW).into_string();
    assert!(html.contains("pool.shop.backend.web-1.weight"));
    insta::assert_snapshot!("revision-page", lines(&html));
}

#[test]
fn the_screen_shows_before_the_first_second_that_it_starts() {
    let state = sample::ok();
    let screen = Screen {
        view: None,
        ..state.screen()
    };
    assert!(screen.page().into_string().contains("STARTING"));
}

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>&lt;";

#[test]
fn hostile_text_from_people_and_backends_stays_text() {
    let mut state = sample::all_at_once();
    for pool in &mut state.view.pools {
        for backend in &mut pool.backends {
            HOSTILE.clone_into(&mut backend.reason);
            HOSTILE.clone_into(&mut backend.health_detail);
        }
    }
    for revision in &mut state.view.revisions {
        HOSTILE.clone_into(&mut revision.reason);
        HOSTILE.clone_into(&mut revision.author);
    }
    for deployment in &mut state.view.deployments {
        HOSTILE.clone_into(&mut deployment.note);
        HOSTILE.clone_into(&mut deployment.author);
    }
    for incident in &mut state.view.incidents {
        HOSTILE.clone_into(&mut incident.title);
        incident.acknowledged_by = Some(HOSTILE.to_owned());
    }
    for marker in &mut state.markers {
        HOSTILE.clone_into(&mut marker.text);
    }
    if let Some(drift) = &mut state.view.drift {
        HOSTILE.clone_into(&mut drift.detail);
    }
    if let Some(verifying) = &mut state.view.verifying {
        verifying.missing = vec![HOSTILE.to_owned()];
    }
    state.view.hold = Some(HOSTILE.to_owned());
    state.view.edited = Some(HOSTILE.to_owned());
    let (mut record, mut timeline) = sample::incident_record();
    HOSTILE.clone_into(&mut record.title);
    for line in &mut timeline {
        for text in [
            &mut line.value.text,
            &mut line.value.actor,
            &mut line.value.subject,
        ] {
            HOSTILE.clone_into(text);
        }
    }
    let (mut revision, parent) = sample::revisions();
    revision.text = HOSTILE.into();
    let pages = [
        page(&state),
        super::incident::page(&record, &timeline, sample::NOW).into_string(),
        super::revision::page(&revision, Some(&parent), sample::NOW).into_string(),
        super::layout::lost(HOSTILE).into_string(),
    ];
    for html in pages {
        assert!(html.contains("&lt;script&gt;"), "the text is missing");
        assert!(!html.contains("<script>alert"), "a script got through");
        assert!(!html.contains("<img"), "a tag got through");
        assert!(!html.contains("\"\">"), "a quote got through");
    }
}

#[test]
fn nothing_inline_runs_so_that_the_policy_can_forbid_it() {
    for state in [sample::ok(), sample::incident(), sample::all_at_once()] {
        let html = page(&state);
        assert!(!html.contains(" style="));
        assert!(!html.contains(" onclick="));
        assert!(!html.contains("<style"));
        assert!(!html.contains("http://") && !html.contains("https://"));
        assert!(!html.contains("<form") && !html.contains("<button"));
    }
}

#[test]
fn without_a_script_the_page_refreshes_itself() {
    let html = page(&sample::ok());
    assert!(html.contains("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>"));
}

#[test]
fn every_verdict_and_state_has_a_word_and_a_shape_besides_its_colour() {
    use super::shapes;
    for verdict in [
        Verdict::Ok,
        Verdict::Over,
        Verdict::Under,
        Verdict::Unknown,
        Verdict::Explained,
    ] {
        let html = shapes::verdict(verdict).into_string();
        let word = match verdict {
            Verdict::Unknown => "not enough data",
            known => known.as_str(),
        };
        assert!(html.contains("<svg") && html.contains(word), "{html}");
    }
    let mut marks: Vec<String> = [
        Status::Ok,
        Status::Drift,
        Status::Verifying,
        Status::Held,
        Status::RollingBack,
        Status::Incident,
    ]
    .into_iter()
    .map(|state| shapes::state_mark(state).into_string())
    .collect();
    marks.sort();
    marks.dedup();
    assert_eq!(marks.len(), 6, "two states share a shape");
}

#[test]
fn a_chart_with_one_point_many_backends_or_crowded_markers_is_finite() {
    let mut state = sample::ok();
    let view = state.view.pools[0].clone();
    let one = state.points[..1].iter().collect::<Vec<_>>();
    let html = chart::svg(&view, &one, &[]).into_string();
    assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    let marker = state.markers[0].clone();
    state.markers = (0..200)
        .map(|i| {
            let mut marker = marker.clone();
            marker.at = Wall(marker.at.0 + i * 10);
            marker
        })
        .collect();
    let html = page(&state);
    assert!(!html.contains("NaN"));
    assert!(html.matches("class=\"moment").count() <= 24);
}

#[test]
fn a_line_breaks_where_the_data_has_a_gap() {
    let mut state = sample::ok();
    let html = page(&state);
    let strokes = |html: &str| {
        let line = html.split("class=\"line s0\" d=\"").nth(1).unwrap();
        line.split('"').next().unwrap().matches('M').count()
    };
    assert_eq!(strokes(&html), 1);
    state
        .points
        .retain(|p| p.at.0 < sample::NOW.0 - 60_000 || p.at.0 > sample::NOW.0 - 30_000);
    assert_eq!(strokes(&page(&state)), 2);
}
