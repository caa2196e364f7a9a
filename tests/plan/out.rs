//! `plan --out`: every file read back by its kind's reader, a folder that is whole or not there, templates of one's own.

use crate::{html, placed_site, yaml};
use assert_cmd::Command;
use damocles_worker::{
    machine::Machine,
    planner::{
        self, Choices, Request, Target, Templates,
        artefacts::{self, Artefact},
        catalogue,
        fleet::{FleetFile, plan_fleet},
        simulate::{Part, trace},
    },
    profile::Profile,
    units::{CpuList, Prover, SectorSize},
    worker_config,
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Output};

const EXAMPLE: &str = "2x epyc-7642 2TiB 2x rtx3080 8x nvme-7.68TB";

/// The files of a plan.
pub struct Made(pub BTreeMap<String, Artefact>);

impl Made {
    fn of(order: &artefacts::Order) -> Self {
        let files = artefacts::artefacts(order, &Templates::shipped()).unwrap();
        Self(files.into_iter().map(|file| (file.path.clone(), file)).collect())
    }

    pub fn text(&self, path: &str) -> &str {
        let names: Vec<_> = self.0.keys().collect();
        &self.0.get(path).unwrap_or_else(|| panic!("no {path} among {names:?}")).text
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn rows(&self, path: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(self.text(path).as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }
}

fn request(choices: Choices, rate: &str, sector_size: SectorSize) -> Request {
    let target = Target { rate: rate.parse().unwrap(), sector_size, days_per_month: 30.0 };
    Request { target, choices, site: placed_site(), profile: Profile::shipped() }
}

fn order(machine: &Machine, request: &Request) -> artefacts::Order {
    artefacts::of_plan(machine, request, &planner::plan(machine, request).unwrap())
}

fn choices() -> Choices {
    Choices {
        prover: Prover::StockDamocles,
        static_tree_d: Some("/srv/tree d".into()),
        hugepages: Some("/mnt/huge".into()),
        ..Choices::default()
    }
}

/// The machine of damocles' document, with hugepages and a static tree-d.
pub fn one_machine() -> Made {
    Made::of(&order(&catalogue::machine(EXAMPLE).unwrap(), &request(choices(), "1PiB/month", SectorSize::GiB32)))
}

/// Eight cores whose stages run inside the daemon.
pub fn small() -> Made {
    let machine = crate::machine("pack:1 [numa(memory=64GB)] l3:2 core:4 pu:2");
    let mut request = request(Choices { count: Some(1), ..Choices::default() }, "100KiB/hour", SectorSize::KiB2);
    request.site = crate::site();
    Made::of(&order(&machine, &request))
}

const FLEET: &str = r#"
[[machine]]
name = "sealer, big"
machine = "2x epyc-7642 2TiB 2x rtx3080 8x nvme-7.68TB"
price = 30000

[[machine]]
name = "prover"
machine = "1x epyc-7302 512GiB 2x rtx3090"
price = 9000
roles = ["c2"]
"#;

pub fn fleet() -> Made {
    let request = request(Choices::default(), "1PiB/month", SectorSize::GiB32);
    let fleet = FleetFile::parse(FLEET).unwrap();
    let plan = plan_fleet(&fleet, &request).unwrap();
    Made::of(&artefacts::of_fleet(&fleet, &request, &plan).unwrap())
}

#[test]
fn one_machine_has_all_files_and_the_configuration_is_the_one_of_stdout() {
    let made = one_machine();
    assert_eq!(
        made.names(),
        [
            "README.md",
            "compose.yaml",
            "hugepages.sh",
            "kernel-command-line.txt",
            "operations.csv",
            "operations.md",
            "plan.json",
            "purchase.csv",
            "purchase.md",
            "report.html",
            "systemd/damocles-worker.service",
            "worker.toml"
        ]
    );
    let machine = catalogue::machine(EXAMPLE).unwrap();
    let plan = planner::plan(&machine, &request(choices(), "1PiB/month", SectorSize::GiB32)).unwrap();
    assert_eq!(made.text("worker.toml"), plan.worker_toml);
    assert!(worker_config::parse(made.text("worker.toml")).unwrap().warnings.is_empty());
    let json: Value = serde_json::from_str(made.text("plan.json")).unwrap();
    assert_eq!((&json["feasible"], &json["machines"]), (&true.into(), &plan.machines.into()));
    assert!(json["types"][0]["forecast"]["sectors_per_day"]["expected"].as_f64().unwrap() > 0.0);
    assert!(made.0["hugepages.sh"].is_executable && !made.0["worker.toml"].is_executable);
}

#[test]
fn containers_have_the_cores_gpus_and_folders_of_the_configuration() {
    let made = one_machine();
    let config = worker_config::parse(made.text("worker.toml")).unwrap().config;
    let compose = yaml::read(made.text("compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    let daemon = &services["daemon"];
    let mut all = CpuList::default();
    for (stage, processors) in &config.processors.stages {
        for (i, processor) in processors.iter().enumerate() {
            let service = &services[&format!("{stage}-{i}").replace('_', "-")];
            let cpus = processor.cgroup.cpuset.as_ref().unwrap();
            assert_eq!(service["cpuset"], cpus.to_string());
            assert_eq!(service["profiles"][0], "places", "none starts beside the daemon");
            let gpu = processor.envs.get("CUDA_VISIBLE_DEVICES");
            let device = &service["deploy"]["resources"]["reservations"]["devices"][0];
            assert_eq!(gpu.map(String::as_str), device["device_ids"][0].as_str());
            if gpu.is_some() {
                assert_eq!(service["environment"]["CUDA_VISIBLE_DEVICES"], "0", "it sees its GPU alone");
            }
            all = all.or(cpus);
        }
    }
    assert_eq!(daemon["cpuset"], all.to_string());
    assert_eq!((&daemon["ulimits"]["memlock"], &daemon["cgroup"]), (&(-1).into(), &"host".into()));
    assert_eq!(daemon["deploy"]["resources"]["reservations"]["devices"][0]["count"], "all");
    let targets: Vec<&str> =
        daemon["volumes"].as_array().unwrap().iter().map(|mount| mount["target"].as_str().unwrap()).collect();
    for thread in &config.sealing_thread {
        let folder = thread.location.parent().unwrap().to_str().unwrap();
        assert!(targets.contains(&folder), "{folder} among {targets:?}");
    }
    for path in ["/srv/tree d", "/mnt/huge", "/var/tmp/filecoin-proof-parameters", "/etc/damocles/worker.toml"] {
        assert!(targets.contains(&path), "{path} among {targets:?}");
    }
    // A disk that is not mounted is an error and no folder of the system's disk.
    let disk = daemon["volumes"].as_array().unwrap().iter().find(|mount| mount["target"] == "/mnt/nvme0/sealing");
    assert_eq!(disk.unwrap()["bind"]["create_host_path"], false);
}

#[test]
fn hugepages_are_counted_per_node_as_the_tool_makes_them() {
    let made = one_machine();
    let config = worker_config::parse(made.text("worker.toml")).unwrap().config;
    let pages: Vec<String> = config.processors.stages[&worker_config::StageName::Pc1]
        .iter()
        .map(|one| format!("{}:{}", one.numa_preferred.unwrap(), 64 * one.concurrent.unwrap()))
        .collect();
    assert_eq!(made.text("kernel-command-line.txt"), format!("hugepagesz=1G hugepages={}\n", pages.join(",")));
    let script = made.text("hugepages.sh");
    assert!(script.contains("hugepage-file-init --from /etc/damocles/worker.toml --mount /mnt/huge --page-size 1GiB"));
    assert!(script.contains("hugepage-persist --from /etc/damocles/worker.toml") && script.contains("--install"));
    let check = std::process::Command::new("sh").args(["-n", "-c", script]).status().unwrap();
    assert!(check.success(), "{script}");
    assert!(made.text("systemd/damocles-worker.service").contains("Requires=damocles-hugepages.service"));
    // Only where they were planned.
    let without = small();
    assert!(!without.names().iter().any(|name| name.contains("hugepages") || name.contains("kernel")));
    assert!(!without.text("systemd/damocles-worker.service").contains("hugepages"));
}

#[test]
fn a_small_plan_has_one_container_without_network_and_says_that_smt_is_on() {
    let made = small();
    let compose = yaml::read(made.text("compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["daemon"]);
    assert_eq!((&services["daemon"]["network_mode"], &services["daemon"]["cpuset"]), (&"none".into(), &"0-15".into()));
    for file in ["README.md", "report.html"] {
        assert!(made.text(file).contains("SMT is on"), "{file}");
    }
}

#[test]
fn a_fast_line_is_played_for_as_long_as_it_tells_something_new() {
    let machine = catalogue::machine("2x epyc-7642 2TiB").unwrap();
    let mut request = request(Choices { count: Some(1), ..Choices::default() }, "4MiB/hour", SectorSize::KiB2);
    request.site = crate::site();
    let made = Made::of(&order(&machine, &request));
    let json: Value = serde_json::from_str(made.text("plan.json")).unwrap();
    let forecast = &json["types"][0]["forecast"];
    assert!(
        forecast["days"].as_f64().unwrap() < 1.0 && forecast["sectors_in_days"].as_u64().unwrap() > 1500,
        "{forecast}"
    );
    let page = html::read(made.text("report.html")).text;
    let told = planner::foresee(&machine, &request, &planner::plan(&machine, &request).unwrap()).unwrap();
    // Through text, as the file went.
    let told: Value = serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap();
    assert_eq!(forecast, &told, "the files and the answer tell two forecasts");
    assert!(page.contains("Played through for") && page.contains("of the 2.81 GiB that are wanted"), "{page}");
}

#[test]
fn a_fleet_has_a_folder_for_each_type_with_a_plan_for_its_machines() {
    let made = fleet();
    let rows = made.rows("purchase.csv");
    assert_eq!(
        rows[0].join(","),
        "machine,role,on_hand,buy,price_each,price,sectors_per_hour_each,limited_by,hardware"
    );
    let line = |role: &str| rows.iter().find(|row| row[1] == role).unwrap();
    let (big, prover) = (line("precommit"), line("c2"));
    assert_eq!((big[0].as_str(), prover[0].as_str()), ("sealer, big", "prover"));
    let count: u32 = big[3].parse().unwrap();
    assert_eq!(big[5], (30000 * count).to_string());
    let config = worker_config::parse(made.text("sealer--big-precommit/worker.toml")).unwrap().config;
    assert_eq!(config.processors.stages[&worker_config::StageName::C2][0].bin.as_deref(), Some(Path::new("c2")));
    // Where only C2 is done there is no daemon: a container for each task, none with another's cores.
    let compose = yaml::read(made.text("prover-c2/compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    let cpusets: Vec<CpuList> =
        services.values().map(|service| service["cpuset"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["c2-0", "c2-1"]);
    assert!(cpusets[0].and(&cpusets[1]).is_empty() && cpusets.iter().all(|cpus| cpus.len() >= 7), "{cpusets:?}");
    assert!(!made.names().contains(&"prover-c2/worker.toml"));
    let operations = made.rows("operations.csv");
    assert!(operations.iter().any(|row| row[0] == "prover" && row[3] == "c2-1" && row[6] == cpusets[1].to_string()));
    assert!(operations.iter().any(|row| row[3] == "pc1-0" && row[2] == count.to_string()));
}

#[test]
fn a_study_of_stage_times_alone_has_lists_and_a_page_and_no_files_for_machines() {
    let study = "[[machine]]\nname = \"128 cores\"\nstages = [{ stage = \"pc1\", tasks = 4, minutes = 150, cores = 8 }]\n\
                 [[machine]]\nname = \"64 cores\"\nstages = [{ stage = \"c2\", tasks = 3, minutes = 77, cores = 21 }]\n";
    let request = request(Choices { utilisation: 1.0, ..Choices::default() }, "1PiB/month", SectorSize::GiB32);
    let fleet = FleetFile::parse(study).unwrap();
    let made = Made::of(&artefacts::of_fleet(&fleet, &request, &plan_fleet(&fleet, &request).unwrap()).unwrap());
    assert_eq!(made.names().len(), 7, "{:?}", made.names());
    assert_eq!(made.rows("purchase.csv")[1][..4], ["128 cores", "precommit", "0", "29"]);
    assert_eq!(made.rows("operations.csv")[2][3..7], ["c2-0", "c2", "3", "21 each"]);
    assert!(html::read(made.text("report.html")).text.contains("Nothing was played through"));
}

#[test]
fn the_page_is_well_formed_loads_nothing_and_shows_every_core_once() {
    for (made, cores) in [(one_machine(), 96), (small(), 8), (fleet(), 96 + 16)] {
        let page = html::read(made.text("report.html"));
        assert_eq!(page.count("core"), cores);
        for attribute in ["src", "srcset", "action"] {
            assert_eq!(page.values(attribute).count(), 0, "{attribute}");
        }
        assert_eq!(page.values("href").collect::<Vec<_>>(), ["data:,"]);
        assert!(page.elements.iter().all(|(name, _)| name != "script"));
        let text = made.text("report.html");
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
        assert!(page.values("content").any(|value| value.starts_with("default-src 'none'")));
        assert!(page.values("content").any(|value| value.contains("width=device-width")));
    }
    let page = html::read(one_machine().text("report.html"));
    let hashing = page.values("class").filter(|class| *class == "core fill-pc1").count();
    let config = worker_config::parse(one_machine().text("worker.toml")).unwrap().config;
    let tasks = config.processors.limitation.concurrent[&worker_config::StageName::Pc1];
    assert_eq!(hashing, tasks as usize, "a core hashes for each PC1 task");
}

#[test]
fn names_from_a_description_cannot_break_out_of_any_file() {
    let mut machine = catalogue::machine(EXAMPLE).unwrap();
    machine.hostname = "</title><script>x\u{1}\n| $HOME \"'`".to_owned();
    let mut request = request(choices(), "1PiB/month", SectorSize::GiB32);
    request.site.attached[0].location = "/mnt/it's $HOME %i \"x\"; rm".into();
    request.choices.hugepages = Some("/mnt/huge; 'x".into());
    let made = Made::of(&order(&machine, &request));
    let page = html::read(made.text("report.html"));
    assert!(page.elements.iter().all(|(name, _)| name != "script"));
    let compose = yaml::read(made.text("compose.yaml"));
    let volumes = compose["services"]["daemon"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|one| one["source"] == "/mnt/it's $$HOME %i \"x\"; rm"), "{volumes:?}");
    let unit = made.text("systemd/damocles-worker.service");
    assert!(unit.contains("RequiresMountsFor=\"/mnt/it's $$HOME %%i \\\"x\\\"; rm\""), "{unit}");
    let script = made.text("hugepages.sh");
    let check = std::process::Command::new("sh").args(["-n", "-c", script]).status().unwrap();
    assert!(check.success() && script.contains("--mount '/mnt/huge; '\\''x'"), "{script}");
    assert!(made.text("purchase.md").lines().all(|line| !line.starts_with("| <") || line.ends_with('|')));
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    assert_eq!(one_machine().0, one_machine().0);
    assert_eq!(fleet().0, fleet().0);
}

#[test]
fn what_a_thread_does_never_overlaps_and_adds_up_to_what_was_counted() {
    use damocles_worker::planner::simulate::{Chance, Line, Question, run};
    let machine = catalogue::machine(EXAMPLE).unwrap();
    let request = request(choices(), "1PiB/month", SectorSize::GiB32);
    let plan = planner::plan(&machine, &request).unwrap();
    let config = worker_config::parse(&plan.worker_toml).unwrap().config;
    let question = Question {
        config: &config,
        machine: &machine,
        profile: &request.profile,
        prover: request.choices.prover,
        suite: request.choices.suite,
        ghz: None,
    };
    let line = Line::of(&question).unwrap();
    let until = 3.0 * 86_400_000.0;
    let spans = trace(&line, until, 1);
    for pair in spans.windows(2).filter(|pair| pair[0].thread == pair[1].thread) {
        assert!(pair[0].to_ms <= pair[1].from_ms + 1e-6, "{pair:?}");
    }
    let tally = run(&line, until, 0.0, Some(Chance::new(1, 0).expected()));
    for (station, seen) in tally.stations.iter().enumerate() {
        let of_it = spans.iter().filter(|span| span.part == Part::Station(station));
        let sum: f64 = of_it.map(|span| span.to_ms.min(until) - span.from_ms).sum();
        assert!((sum - seen.running).abs() <= 1e-6 * seen.running.max(1.0), "{station}: {sum} and {}", seen.running);
    }
}

fn plan_command(args: &[&str]) -> Output {
    let common = ["plan", "--target", "1PiB/month", "--sector-size", "32GiB", "--machine", EXAMPLE];
    let manager = ["--manager", "/ip4/10.0.0.1/tcp/1789", "--prover", "stock-damocles", "--hugepages"];
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.args(common).args(manager).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_folder_is_written_whole_listed_and_replaced_and_a_dry_run_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("plan");
    let out = dir.to_str().unwrap();
    let dry = plan_command(&["--out", out, "--dry-run"]);
    assert_eq!((dry.status.code(), dir.exists()), (Some(0), false), "{}", text(&dry.stderr));
    let written = plan_command(&["--out", out]);
    assert_eq!(text(&dry.stdout), text(&written.stdout));
    for path in text(&written.stdout).lines() {
        assert!(Path::new(path).is_file(), "{path}");
    }
    assert!(text(&written.stdout).contains("/systemd/damocles-worker.service"));
    let check = std::process::Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&dir).output();
    assert!(check.unwrap().status.success());
    let again = plan_command(&["--out", out, "--json"]);
    let answer: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&answer["written"], &answer["replaces"]), (&true.into(), &true.into()));
    fs::write(dir.join("worker.toml"), "# mine").unwrap();
    let refused = plan_command(&["--out", out]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), ""));
    assert!(
        text(&refused.stderr).contains("worker.toml was changed since it was written"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    let alone = plan_command(&["--dry-run"]);
    assert_eq!(alone.status.code(), Some(2), "a dry run of nothing");
}

#[test]
fn templates_of_ones_own_go_first_and_broken_ones_are_named_with_their_line() {
    let place = tempfile::tempdir().unwrap();
    let (templates, dir) = (place.path().join("templates"), place.path().join("plan"));
    fs::create_dir(&templates).unwrap();
    let args = ["--templates", templates.to_str().unwrap(), "--out", dir.to_str().unwrap()];
    fs::write(templates.join("operations.md.hbs"), "{{#each lines}}\n{{processor}}={{cpus}}\n{{/each}}\n").unwrap();
    fs::write(templates.join("compse.yaml.hbs"), "").unwrap();
    let made = plan_command(&args);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert!(text(&made.stderr).contains("compse.yaml.hbs is not used"), "{}", text(&made.stderr));
    assert!(fs::read_to_string(dir.join("operations.md")).unwrap().contains("\npc1-0=0-"));
    assert!(fs::read_to_string(dir.join("README.md")).unwrap().starts_with("# A plan for 1PiB/month"));
    for (file, content, why) in [
        ("compose.yaml.hbs", "services:\n{{#if daemon}}\n", "compose.yaml.hbs, line "),
        ("README.md.hbs", "a\nb\n{{nothing}}\n", "README.md.hbs, line 3: there is no value `nothing`"),
        ("worker.toml.hbs", "[worker]\n", "worker.toml"),
    ] {
        fs::write(templates.join(file), content).unwrap();
        let refused = plan_command(&args);
        assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), ""), "{file}");
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
        assert!(dir.join("report.html").is_file(), "the older plan stays");
        fs::remove_file(templates.join(file)).unwrap();
    }
    // worker.toml on stdout comes from one's own template too.
    let shipped = include_str!("../../templates/worker.toml.hbs");
    fs::write(templates.join("worker.toml.hbs"), format!("# of our site\n{shipped}")).unwrap();
    let printed = plan_command(&args[..2]);
    assert!(text(&printed.stdout).starts_with("# of our site\n# damocles-worker.toml"), "{}", text(&printed.stderr));
}
