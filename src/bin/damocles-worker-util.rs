//! `damocles-worker-util`: hwinfo, plan.

fn main() -> std::process::ExitCode {
    damocles_worker::cli::util_main()
}
