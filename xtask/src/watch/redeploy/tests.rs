//! Stories.

use super::*;

fn code(services: &[&str]) -> Affected {
    Affected { services: services.iter().map(|&service| service.to_owned()).collect(), ..Affected::default() }
}

fn manifests() -> Affected {
    Affected { manifests: true, ..Affected::default() }
}

fn none() -> Affected {
    Affected::default()
}

/// An environment that is up, with nothing to do.
fn up() -> Redeploy {
    let mut redeploy = Redeploy::default();
    assert_eq!(redeploy.first(), Round { members: true, manifests: true, ..Round::default() });
    assert_eq!(redeploy.ended(Outcome::Done), None);
    redeploy
}

#[test]
fn a_save_rebuilds_what_depends_on_it() {
    let mut redeploy = up();
    assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Begin(Round::from(&code(&["baz"]))));
    assert_eq!(redeploy.ended(Outcome::Done), None);
}

#[test]
fn a_manifest_edit_builds_nothing() {
    assert_eq!(up().changed(&manifests(), &none()), Next::Begin(Round::from(&manifests())));
}

#[test]
fn what_concerns_nothing_starts_nothing() {
    let mut redeploy = up();
    assert_eq!(redeploy.changed(&none(), &none()), Next::Nothing);
    assert_eq!(redeploy.changed(&Affected { xtask: true, ..none() }, &none()), Next::Nothing);
}

#[test]
fn a_save_without_a_change_starts_nothing() {
    assert_eq!(up().changed(&none(), &code(&["baz"])), Next::Nothing);
}

#[test]
fn saves_of_other_services_during_a_build_wait_and_are_built_together() {
    let mut redeploy = up();
    redeploy.changed(&code(&["baz"]), &none());
    assert_eq!(redeploy.changed(&code(&["foo"]), &none()), Next::Wait);
    assert_eq!(redeploy.changed(&code(&["bar"]), &none()), Next::Wait);
    assert_eq!(redeploy.changed(&manifests(), &none()), Next::Wait);
    let mut expected = Round::from(&code(&["foo", "bar"]));
    expected.manifests = true;
    assert_eq!(redeploy.ended(Outcome::Done), Some(expected));
    assert_eq!(redeploy.ended(Outcome::Done), None);
}

#[test]
fn a_newer_save_of_the_same_service_overtakes_its_build() {
    let mut redeploy = up();
    redeploy.changed(&code(&["foo", "baz"]), &none());
    assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Cancel);
    // A third while it is being cancelled just joins.
    assert_eq!(redeploy.changed(&code(&["bar"]), &none()), Next::Wait);
    assert_eq!(redeploy.ended(Outcome::Cancelled), Some(Round::from(&code(&["foo", "bar", "baz"]))));
}

#[test]
fn a_round_that_was_done_when_it_was_cancelled_is_not_repeated() {
    let mut redeploy = up();
    redeploy.changed(&code(&["foo", "baz"]), &none());
    assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Cancel);
    assert_eq!(redeploy.ended(Outcome::Done), Some(Round::from(&code(&["baz"]))));
}

#[test]
fn a_file_that_never_rests_cannot_keep_changes_from_arriving() {
    let mut redeploy = up();
    redeploy.changed(&code(&["baz"]), &none());
    for _ in 0..OVERTAKEN {
        assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Cancel);
        assert!(redeploy.ended(Outcome::Cancelled).is_some());
    }
    assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Wait);
    assert_eq!(redeploy.ended(Outcome::Done), Some(Round::from(&code(&["baz"]))));
    assert_eq!(redeploy.changed(&code(&["baz"]), &none()), Next::Cancel);
}

#[test]
fn what_failed_is_built_again_with_the_next_change_of_any_of_it() {
    let mut redeploy = up();
    redeploy.changed(&code(&["foo", "baz"]), &none());
    assert_eq!(redeploy.ended(Outcome::BuildFailed), None);
    // Another service is not held up, and does not take the broken ones with it.
    assert_eq!(redeploy.changed(&code(&["bar"]), &none()), Next::Begin(Round::from(&code(&["bar"]))));
    assert_eq!(redeploy.ended(Outcome::Done), None);
    // foo alone is mended: baz had changed too and was not deployed.
    assert_eq!(redeploy.changed(&code(&["foo"]), &none()), Next::Begin(Round::from(&code(&["foo", "baz"]))));
    assert_eq!(redeploy.ended(Outcome::Done), None);
    assert_eq!(redeploy.changed(&code(&["foo"]), &none()), Next::Begin(Round::from(&code(&["foo"]))));
}

#[test]
fn saving_again_without_a_change_retries_what_failed() {
    let mut redeploy = up();
    redeploy.changed(&code(&["baz"]), &none());
    redeploy.ended(Outcome::BuildFailed);
    assert_eq!(redeploy.changed(&none(), &code(&["foo"])), Next::Nothing);
    assert_eq!(redeploy.changed(&none(), &code(&["baz"])), Next::Begin(Round::from(&code(&["baz"]))));
}

#[test]
fn a_failed_build_does_not_hold_up_manifests() {
    let mut redeploy = up();
    let mut both = code(&["baz"]);
    both.manifests = true;
    redeploy.changed(&both, &none());
    assert_eq!(redeploy.ended(Outcome::BuildFailed), Some(Round::from(&manifests())));
    assert_eq!(redeploy.ended(Outcome::Refused), None);
}

#[test]
fn when_the_first_build_fails_the_mended_file_brings_everything_up() {
    let mut redeploy = Redeploy::default();
    redeploy.first();
    assert_eq!(redeploy.ended(Outcome::BuildFailed), None);
    let Next::Begin(round) = redeploy.changed(&code(&["baz"]), &none()) else { panic!("nothing began") };
    assert!(round.members && round.manifests && round.services.contains("baz"));
    assert_eq!(redeploy.ended(Outcome::Done), None);
    assert_eq!(redeploy.changed(&none(), &code(&["baz"])), Next::Nothing);
}
