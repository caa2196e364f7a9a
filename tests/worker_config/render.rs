//! What is rendered reads back as it was, under the headings that operators know.

use crate::strategies;
use damocles_worker::{units::SectorSize, worker_config::*};
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_rendered_parses_to_the_same(config in strategies::worker_config()) {
        let text = render(&config);
        match parse(&text) {
            Ok(loaded) => prop_assert_eq!(loaded.config, config, "\n{}", text),
            Err(problems) => prop_assert!(false, "{}\n\n{}", problems, text),
        }
    }
}

#[test]
fn a_small_configuration_renders_under_the_known_headings() {
    let mut config = WorkerConfig::minimal(RpcClient::Embedded(EmbeddedManager::default()), "./sealing", "./persist");
    config.sealing_thread[0].sealing.allowed_sizes = vec![SectorSize::KiB2];
    config.processors.limitation.concurrent.insert(StageName::Pc1, 1);
    config.processors.static_tree_d.insert(SectorSize::GiB32, "/var/tmp/32g.dat".into());
    config.processors.stages.insert(
        StageName::Pc1,
        vec![Processor { envs: [("RUST_LOG".to_owned(), "info".to_owned())].into(), ..Default::default() }],
    );
    insta::assert_snapshot!(render(&config), @r#"
    [worker]
    rpc_server.host = "0.0.0.0"
    rpc_server.port = 17890
    ping_interval = "30s"
    local_pieces_dirs = []
    scan_persist_stores = []

    [metrics]
    enable = false
    http_listen = "0.0.0.0:9000"

    [sector_manager]
    rpc_client.addr = "embedded"

    [sector_manager.embedded]
    path = "./manager"
    miner = 1000
    proof_type = "StackedDrg2KiBV1_1"
    epoch = "30s"

    [sealing]
    allowed_miners = []
    allowed_sizes = []
    enable_deals = false
    disable_cc = false
    max_retries = 5
    seal_interval = "30s"
    recover_interval = "60s"
    rpc_polling_interval = "180s"
    ignore_proof_check = false
    request_task_max_retries = 3
    verify_after_pc2 = false

    [[sealing_thread]]
    location = "./sealing"
    plan = "sealer"
    sealing.allowed_sizes = ["2KiB"]

    [[attached]]
    location = "./persist"
    readonly = false

    [processors.limitation.concurrent]
    pc1 = 1

    [processors.static_tree_d]
    32GiB = "/var/tmp/32g.dat"

    [[processors.pc1]]
    stable_wait = "5s"
    envs = { RUST_LOG = "info" }
    auto_restart = true
    inherit_envs = true
    "#);
}
