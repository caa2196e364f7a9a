//! What an interrupted run leaves is never taken for finished: 8 MiB, where trees have some height.

use crate::seal::Sector;
use damocles_worker::{
    runtime::{proofs, stage::*},
    units::SectorSize,
};
use std::fs;

const TREE_C: &str = "sc-02-data-tree-c.dat";

#[test]
fn pc2_interrupted_in_the_middle_ends_with_the_same_comm_r() {
    let mut sector = Sector::new(SectorSize::MiB8);
    sector.prepare(vec![]);
    let tree_d = fs::read(sector.cache().join(TREE_D)).unwrap();
    proofs::tree_d(&sector.tree_d_task()).unwrap();
    assert_eq!(fs::read(sector.cache().join(TREE_D)).unwrap(), tree_d, "a second tree_d changes nothing");

    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let layer = fs::metadata(sector.cache().join("sc-02-data-layer-2.dat")).unwrap().modified().unwrap();
    assert_eq!(proofs::pc1(&sector.pc1_task()).unwrap(), pc1out, "a second pc1 gives the same answer");
    assert_eq!(fs::metadata(sector.cache().join("sc-02-data-layer-2.dat")).unwrap().modified().unwrap(), layer);

    let expected = proofs::pc2(&sector.pc2_task(pc1out.clone())).unwrap();
    let whole = fs::metadata(sector.cache().join(TREE_C)).unwrap().len();
    assert_eq!(fs::metadata(sector.cache().join("sc-02-data-tree-r-last.dat")).unwrap().len(), 18_720);

    // As after a kill inside pc2: tree-c has its full length and no content, sealed is half encoded.
    let torn = vec![0; whole as usize];
    fs::write(sector.cache().join(TREE_C), &torn).unwrap();
    let mut sealed = fs::read(sector.path("staged")).unwrap();
    sealed[..4 << 20].fill(7);
    fs::write(sector.path("sealed"), sealed).unwrap();
    let error = proofs::pc2(&sector.pc2_task(pc1out.clone())).unwrap_err().to_string();
    assert!(error.contains("left from an interrupted pc2"), "{error}");

    proofs::clean_before_pc2_again(&sector.cache()).unwrap();
    proofs::remake_sealed(&sector.path("staged"), &sector.path("sealed"), SectorSize::MiB8).unwrap();
    assert_eq!(proofs::pc2(&sector.pc2_task(pc1out)).unwrap(), expected);
}

#[test]
fn the_library_alone_would_have_trusted_the_torn_tree_c() {
    // Why the cleaning exists. When this fails the library has learned to check, and the cleaning may go.
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let expected = proofs::pc2(&sector.pc2_task(pc1out.clone())).unwrap();
    let whole = fs::metadata(sector.cache().join(TREE_C)).unwrap().len();
    proofs::clean_before_pc2_again(&sector.cache()).unwrap();
    proofs::remake_sealed(&sector.path("staged"), &sector.path("sealed"), SectorSize::KiB2).unwrap();
    fs::write(sector.cache().join(TREE_C), vec![0; whole as usize]).unwrap();
    let trusting = filecoin_proofs_api::seal::seal_pre_commit_phase2(
        pc1out.read().unwrap(),
        sector.cache(),
        sector.path("sealed"),
    );
    assert_ne!(trusting.unwrap().comm_r, expected.comm_r);
}

#[test]
fn a_torn_tree_d_is_built_again_and_leftovers_are_swept() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let target = sector.cache().join(TREE_D);
    let whole = fs::read(&target).unwrap();
    fs::write(&target, &whole[..100]).unwrap();
    fs::create_dir(sector.cache().join(format!(".{TREE_D}.tmp-killed"))).unwrap();
    proofs::tree_d(&sector.tree_d_task()).unwrap();
    assert_eq!(fs::read(&target).unwrap(), whole);
    assert_eq!(sector.cache_files().len(), 1);
}

#[test]
fn pc1_refuses_to_start_without_tree_d_or_with_a_short_staged_file() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    fs::remove_file(sector.cache().join(TREE_D)).unwrap();
    let error = proofs::pc1(&sector.pc1_task()).unwrap_err().to_string();
    assert!(error.contains(TREE_D) && error.contains("run tree_d again"), "{error}");
    fs::write(sector.path("staged"), b"short").unwrap();
    let error = proofs::pc1(&sector.pc1_task()).unwrap_err().to_string();
    assert!(error.contains("5 bytes long, 2048 expected; run add_pieces again"), "{error}");
    assert!(!sector.path("sealed").exists());
}

#[test]
fn layers_of_another_ticket_are_not_reused() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let mut task = sector.pc1_task();
    proofs::pc1(&task).unwrap();
    let layer = sector.cache().join("sc-02-data-layer-1.dat");
    let first = fs::read(&layer).unwrap();
    task.ticket = [6; 32];
    proofs::pc1(&task).unwrap();
    assert_ne!(fs::read(&layer).unwrap(), first);
}

#[test]
fn a_tree_d_that_is_a_link_serves_every_stage_and_is_not_written_to() {
    let mut made = Sector::new(SectorSize::KiB2);
    made.prepare(vec![]);
    let (tree, link) = (made.path("static-tree-d"), made.cache().join(TREE_D));
    fs::rename(&link, &tree).unwrap();
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    let before = fs::read(&tree).unwrap();
    proofs::tree_d(&made.tree_d_task()).unwrap();
    let pc1out = proofs::pc1(&made.pc1_task()).unwrap();
    let pc2out = proofs::pc2(&made.pc2_task(pc1out)).unwrap();
    made.c1(pc2out);
    assert_eq!(fs::read_link(&link).unwrap(), tree);
    assert_eq!(fs::read(&tree).unwrap(), before);
}
