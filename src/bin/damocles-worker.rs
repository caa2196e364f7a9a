//! `damocles-worker`: the daemon, its proof parameters, and what it needs on this host.

fn main() -> std::process::ExitCode {
    damocles_worker::cli::worker_main()
}
