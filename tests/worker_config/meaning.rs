//! What a configuration means: defaults, merges, units, old forms.

use crate::fixtures::{Fixture, folder};
use damocles_worker::{
    units::{Bytes, HumanDuration, SealProof, SectorSize},
    worker_config::*,
};

/// A configuration that loads, with `lines` before the rest.
fn loaded(lines: &str) -> Loaded {
    let rest = "[sector_manager]\nrpc_client.addr = \"embedded\"\n[[sealing_thread]]\nlocation = \"./a\"\n\
                [[attached]]\nlocation = \"./b\"\n";
    parse(&format!("{lines}\n{rest}")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn good(name: &str) -> Loaded {
    let text = std::fs::read_to_string(folder("good").join(name)).expect("the fixture is there");
    parse(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn what_is_not_written_has_its_default() {
    let Loaded { config, warnings } = loaded("");
    assert_eq!(warnings, []);
    let embedded = RpcClient::Embedded(EmbeddedManager::default());
    assert_eq!(config, WorkerConfig::minimal(embedded, "./a", "./b"));
    assert_eq!(
        (config.worker.rpc_server.host.as_str(), config.worker.rpc_server.port, config.worker.ping_interval),
        ("0.0.0.0", 17890, HumanDuration::secs(30))
    );
    assert_eq!((config.metrics.enable, config.metrics.http_listen), (false, "0.0.0.0:9000".parse().unwrap()));
    let sealing = &config.sealing_thread[0].sealing;
    assert_eq!((sealing.max_retries, sealing.request_task_max_retries), (5, 3));
    // One document says 30s for recover_interval; the field's code says 60s.
    let intervals = [sealing.seal_interval, sealing.recover_interval, sealing.rpc_polling_interval];
    assert_eq!(intervals, [30, 60, 180].map(HumanDuration::secs));
    let Processor { stable_wait, auto_restart, inherit_envs, concurrent, .. } = Processor::default();
    assert_eq!((stable_wait, auto_restart, inherit_envs, concurrent), (HumanDuration::secs(5), true, true, None));
    let EmbeddedManager { miner, proof_type, epoch, pieces, .. } = EmbeddedManager::default();
    assert_eq!(pieces, None);
    assert_eq!(
        (miner, proof_type.to_string(), epoch),
        (1000, "StackedDrg2KiBV1_1".to_owned(), HumanDuration::secs(30))
    );
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let Loaded { config, warnings } = good("every-key.toml");
    assert_eq!(warnings, []);
    // Written out and looked over by hand: a key read into another's field shows here.
    let expected = std::fs::read_to_string(folder("every-key.rendered.toml")).expect("the fixture is there");
    assert_eq!(render(&config), expected);
}

#[test]
fn a_thread_overrides_the_common_settings_and_inherits_the_rest() {
    let Loaded { config, .. } = good("threads-by-miner-and-size.toml");
    let [first, second] = [0, 1].map(|i| &config.sealing_thread[i].sealing);
    assert_eq!((&*first.allowed_miners, &*first.allowed_sizes), (&[1357][..], &[][..]));
    assert_eq!((&*second.allowed_miners, &*second.allowed_sizes), (&[2468][..], &[SectorSize::GiB64][..]));
    for thread in [first, second] {
        assert_eq!((thread.max_retries, thread.recover_interval), (10, HumanDuration::secs(90)));
    }
}

#[test]
fn old_forms_mean_what_the_new_ones_mean() {
    let Loaded { config, .. } = good("old-forms.toml");
    assert_eq!(config.worker.local_pieces_dirs, [std::path::Path::new("/mnt/pieces")]);
    let RpcClient::Remote(remote) = &config.sector_manager.rpc_client else { panic!("{config:?}") };
    assert_eq!((remote.addr.as_str(), remote.url.as_str()), ("ws://127.0.0.1:1789", "http://127.0.0.1:1789"));
    let store = Attached { name: Some("nas".to_owned()), location: "/mnt/nas".into(), readonly: false };
    assert_eq!(config.attached, [store]);
    let limits: Vec<_> = config.processors.limitation.concurrent.into_iter().collect();
    assert_eq!(limits, [(StageName::Pc1, 3), (StageName::Pc2, 1)]);
    assert_eq!(good("old-stores.toml").config.attached.len(), 3);
}

#[test]
fn the_new_key_wins_over_its_old_spelling() {
    let Loaded { config, .. } = good("unlikely.toml");
    assert_eq!(config.worker.local_pieces_dirs, [std::path::Path::new("/mnt/a")]);
}

#[test]
fn only_the_exact_word_selects_the_embedded_manager() {
    for word in ["Embedded", "EMBEDDED", "embeded", " embedded", "embedded ", "embeddded", "imbedded"] {
        let text = format!("[sector_manager]\nrpc_client.addr = {word:?}\n");
        let problems = parse(&text).unwrap_err().to_string();
        assert!(problems.contains("only this exact word selects the embedded manager"), "{word}: {problems}");
    }
}

#[test]
fn the_embedded_proof_type_is_a_name_a_number_or_a_size() {
    for (written, proof) in [
        ("\"StackedDrg8MiBV1_1\"", "StackedDrg8MiBV1_1"),
        ("6", "StackedDrg8MiBV1_1"),
        ("\"8MiB\"", "StackedDrg8MiBV1_1"),
        ("10", "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"),
    ] {
        let Loaded { config, .. } = loaded(
            &format!("sector_manager.embedded.proof_type = {written}\n")
                .replace("sector_manager.embedded.proof_type", "[sector_manager.embedded]\nproof_type"),
        );
        let RpcClient::Embedded(embedded) = config.sector_manager.rpc_client else { panic!("{written}") };
        assert_eq!(embedded.proof_type, proof.parse::<SealProof>().unwrap(), "{written}");
    }
}

#[test]
fn sizes_and_durations_take_the_units_of_the_field() {
    for (written, bytes) in [("\"8GiB\"", 8 << 30), ("\"1.5 GiB\"", 3 << 29), ("\"2048\"", 2048), ("2048", 2048)] {
        let Loaded { config, .. } = loaded(&format!("[sealing]\nmin_deal_space = {written}"));
        assert_eq!(config.sealing.min_deal_space, Some(Bytes(bytes)), "{written}");
    }
    for (written, secs) in [("30s", 30), ("2min", 120), ("1h 30m", 5400), ("1 hour", 3600)] {
        let Loaded { config, .. } = loaded(&format!("[sealing]\nseal_interval = \"{written}\""));
        assert_eq!(config.sealing.seal_interval, HumanDuration::secs(secs), "{written}");
    }
}

#[test]
fn every_plan_that_is_known_but_not_built_is_refused_by_name() {
    for plan in ["snapup", "rebuild", "unseal", "wdpost", "niporep"] {
        let problems = parse(&format!("[[sealing_thread]]\nlocation = \"./a\"\nplan = \"{plan}\"\n")).unwrap_err();
        let expected = format!("found \"{plan}\" (a string), which is not supported in this version");
        assert!(problems.to_string().contains(&expected), "{problems}");
    }
}

#[test]
fn scanned_stores_stand_in_for_attached_ones() {
    let text = "[worker]\nscan_persist_stores = [\"/mnt/nas\"]\n[sector_manager]\nrpc_client.addr = \"embedded\"\n\
                [[sealing_thread]]\nlocation = \"./a\"\n";
    assert_eq!(parse(text).unwrap().config.attached, []);
}

#[test]
fn a_stage_without_processors_runs_in_the_daemon() {
    let Loaded { config, .. } = loaded("[processors]\npc1 = []\n");
    assert_eq!(config.processors.stages.len(), 0);
}

#[test]
fn a_byte_order_mark_and_foreign_line_ends_are_read() {
    let text = &Fixture::all("good").into_iter().find(|f| f.name() == "every-key.toml").expect("there").text;
    let foreign = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(parse(&foreign), parse(text));
}
