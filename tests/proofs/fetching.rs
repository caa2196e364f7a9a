//! params fetch against a gateway that breaks off, forgets ranges and lies.

use crate::gateway::{Answer, Gateway};
use damocles_worker::{
    runtime::proofs::params::{
        Manifest, ParamsError, ParamsKind,
        fetch::{Outcome, Request, fetch},
        look,
    },
    units::SectorSize,
};
use std::{fs, path::Path, time::Duration};

const VK: &str = "v28-stacked-proof-of-replication-t.vk";
const PARAMS: &str = "v28-stacked-proof-of-replication-t.params";

fn content(cid: &str) -> Vec<u8> {
    match cid {
        "Qvk" => b"verifying key".to_vec(),
        "Qparams" => (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect(),
        other => panic!("nobody asked for {other}"),
    }
}

fn digest(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), bytes).unwrap();
    damocles_worker::runtime::proofs::params::digest_of(&folder.path().join("x")).unwrap()
}

fn manifest() -> Manifest {
    let entry =
        |cid: &str| format!(r#"{{"cid": "{cid}", "digest": "{}", "sector_size": 2048}}"#, digest(&content(cid)));
    Manifest::from_json(&format!(r#"{{"{VK}": {}, "{PARAMS}": {}}}"#, entry("Qvk"), entry("Qparams"))).unwrap()
}

fn request(folder: &Path, gateway: &Gateway) -> Request {
    Request {
        folder: folder.to_owned(),
        gateway: gateway.url.clone(),
        size: SectorSize::KiB2,
        all: false,
        replace: false,
        pause: Duration::from_millis(1),
    }
}

fn run(request: &Request) -> Result<Vec<(String, Outcome)>, ParamsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fetch(request, &manifest(), &mut |_| ()))
}

fn kind(folder: &Path) -> ParamsKind {
    look(folder, &manifest(), SectorSize::KiB2, false, |_, _| ()).unwrap().kind
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".lock"));
    names.sort();
    names
}

#[test]
fn both_keys_come_and_a_second_fetch_brings_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(vec![], content);
    let request = request(folder.path(), &gateway);
    assert_eq!(run(&request).unwrap(), [(VK.into(), Outcome::Fetched), (PARAMS.into(), Outcome::Fetched)]);
    assert_eq!(fs::read(folder.path().join(PARAMS)).unwrap(), content("Qparams"));
    assert_eq!(kind(folder.path()), ParamsKind::Fetched);
    assert_eq!(run(&request).unwrap(), [(VK.into(), Outcome::AlreadyThere), (PARAMS.into(), Outcome::AlreadyThere)]);
    assert_eq!(gateway.asked.lock().unwrap().len(), 2);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let script = vec![Answer::Well, Answer::CutAfter(100_000), Answer::Status(503), Answer::CutAfter(50_000)];
    let gateway = Gateway::start(script, content);
    run(&request(folder.path(), &gateway)).unwrap();
    assert_eq!(fs::read(folder.path().join(PARAMS)).unwrap(), content("Qparams"));
    let asked: Vec<_> = gateway.asked.lock().unwrap().iter().map(|r| r.clone().unwrap_or_default()).collect();
    assert_eq!(asked, ["", "", "100000-", "100000-", "150000-"]);
}

#[test]
fn a_gateway_that_stays_away_leaves_only_the_partial_file_and_a_later_run_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = vec![Answer::Well, Answer::CutAfter(1000)];
    script.extend([Answer::CutAfter(0); 4]);
    let gateway = Gateway::start(script, content);
    let error = run(&request(folder.path(), &gateway)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("fetching {PARAMS} from {}Qparams: ", gateway.url)), "{error}");
    assert!(error.contains("what came so far is kept: run it again"), "{error}");
    assert_eq!(names(folder.path()), [format!("{PARAMS}.partial"), VK.into(), format!("{VK}.checked")]);
    assert_eq!(kind(folder.path()), ParamsKind::Missing);

    run(&request(folder.path(), &gateway)).unwrap();
    assert_eq!(kind(folder.path()), ParamsKind::Fetched);
    assert_eq!(gateway.asked.lock().unwrap().last().unwrap().as_deref(), Some("1000-"));
}

#[test]
fn a_gateway_without_ranges_is_read_from_the_start() {
    for odd in [Answer::IgnoringRanges, Answer::WrongRange] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{PARAMS}.partial")), b"whatever").unwrap();
        let gateway = Gateway::start(vec![Answer::Well, odd], content);
        match (odd, run(&request(folder.path(), &gateway))) {
            (Answer::IgnoringRanges, outcome) => {
                outcome.unwrap();
                assert_eq!(kind(folder.path()), ParamsKind::Fetched);
            }
            (_, outcome) => {
                assert!(outcome.unwrap_err().to_string().contains("the gateway answered 206"));
                assert_eq!(kind(folder.path()), ParamsKind::Missing);
            }
        }
    }
}

#[test]
fn wrong_bytes_are_named_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(vec![Answer::Well, Answer::WrongBytes], content);
    let error = run(&request(folder.path(), &gateway)).unwrap_err();
    assert!(matches!(&error, ParamsError::WrongDigest { name, .. } if name == PARAMS), "{error}");
    assert!(
        error.to_string().contains(&format!("published is {}; removed it", digest(&content("Qparams")))),
        "{error}"
    );
    assert_eq!(names(folder.path()), [VK.into(), format!("{VK}.checked")]);
}

#[test]
fn a_spoilt_partial_file_is_found_by_its_digest_also_when_it_is_too_long() {
    for length in [200_000, 300_000, 300_001] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{PARAMS}.partial")), vec![0; length]).unwrap();
        let gateway = Gateway::start(vec![], content);
        assert!(matches!(run(&request(folder.path(), &gateway)), Err(ParamsError::WrongDigest { .. })), "{length}");
        run(&request(folder.path(), &gateway)).unwrap();
        assert_eq!(kind(folder.path()), ParamsKind::Fetched);
    }
}

#[test]
fn a_key_that_is_not_the_published_one_is_replaced_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(PARAMS), b"made elsewhere").unwrap();
    let gateway = Gateway::start(vec![], content);
    let mut request = request(folder.path(), &gateway);
    let error = run(&request).unwrap_err().to_string();
    assert!(error.contains("is there and is not the published file (unknown); give --replace"), "{error}");
    assert_eq!(fs::read(folder.path().join(PARAMS)).unwrap(), b"made elsewhere");
    request.replace = true;
    run(&request).unwrap();
    assert_eq!(kind(folder.path()), ParamsKind::Fetched);
}

#[test]
fn a_replacing_fetch_that_breaks_off_never_leaves_keys_of_two_origins_side_by_side() {
    let old = |folder: &Path| {
        fs::write(folder.join(PARAMS), b"made elsewhere").unwrap();
        fs::write(folder.join(VK), b"its verifying key").unwrap();
    };
    // The parameters do not come: the old set stays whole.
    let folder = tempfile::tempdir().unwrap();
    old(folder.path());
    let gateway = Gateway::start(vec![Answer::CutAfter(1000), Answer::Status(404)], content);
    let mut request = Request { replace: true, ..request(folder.path(), &gateway) };
    run(&request).unwrap_err();
    assert_eq!(fs::read(folder.path().join(PARAMS)).unwrap(), b"made elsewhere");
    assert_eq!(fs::read(folder.path().join(VK)).unwrap(), b"its verifying key");

    // They come and the verifying key does not: the old one is gone, and the set counts as missing.
    let gateway = Gateway::start(vec![Answer::Well, Answer::Status(404)], content);
    request.gateway = gateway.url.clone();
    run(&request).unwrap_err();
    assert_eq!(fs::read(folder.path().join(PARAMS)).unwrap(), content("Qparams"));
    assert!(!folder.path().join(VK).exists());
    assert_eq!(kind(folder.path()), ParamsKind::Missing);

    run(&request).unwrap();
    assert_eq!(kind(folder.path()), ParamsKind::Fetched);
}

#[test]
fn a_missing_verifying_key_is_not_brought_to_parameters_that_are_not_published() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(PARAMS), b"made elsewhere").unwrap();
    let gateway = Gateway::start(vec![], content);
    let error = run(&request(folder.path(), &gateway)).unwrap_err().to_string();
    assert!(error.contains(PARAMS) && error.contains("give --replace"), "{error}");
    assert!(!folder.path().join(VK).exists());
    assert!(gateway.asked.lock().unwrap().is_empty());
}

#[test]
fn an_unknown_content_id_is_no_reason_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(vec![Answer::Status(404)], content);
    let error = run(&request(folder.path(), &gateway)).unwrap_err().to_string();
    assert!(error.contains("the gateway answered 404") && error.contains("check the --gateway address"), "{error}");
    assert_eq!(gateway.asked.lock().unwrap().len(), 1);
}
