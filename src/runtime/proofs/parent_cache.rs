//! The parent cache: for every node of a sector the 14 nodes its label is made from.
//!
//! The library generates it at the first pc1 straight under its final name and trusts any file of that name
//! that is long enough; a torn one makes every later sector worthless without a word. So it is written here
//! before pc1: the same graph, a temporary file, the SHA-256 compared with the published one, sync, rename.
//! A file that is already there is read once against the published digest and then stamped.
//!
//! | sector | file | | sector | file |
//! | --- | --- | --- | --- | --- |
//! | 2 KiB | 3.5 KiB | | 32 GiB | 56 GiB |
//! | 8 MiB | 14 MiB | | 64 GiB | 112 GiB |
//! | 512 MiB | 896 MiB | | | |

use super::{ProofsError, convert, error::InStage, guard, stamp};
use crate::{
    sys::{
        blocks,
        durable::{self, AtomicFile},
        lock::Lock,
    },
    units::{SealProof, hex},
};
use filecoin_proofs::DefaultTreeHasher;
use filecoin_proofs_api::Hasher;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    thread,
};
use storage_proofs_core::{
    crypto::{FEISTEL_DST, derive_porep_domain_seed},
    drgraph::BASE_DEGREE,
    parameter_cache::{ParameterSetMetadata, VERSION},
    settings::SETTINGS,
    util::NODE_SIZE,
};
use storage_proofs_porep::stacked::{EXP_DEGREE, StackedBucketGraph};

const STAGE: &str = "parent cache";
const HINT: &str = "check the folder FIL_PROOFS_PARENT_CACHE names, and its free space";
const DEGREE: usize = BASE_DEGREE + EXP_DEGREE;
const ENTRY_BYTES: usize = DEGREE * size_of::<u32>();
/// Nodes that one thread computes before they are written: 3.5 MiB.
const NODES_PER_CHUNK: usize = 1 << 16;
const STAMP: &str = "checked";

/// File stem and SHA-256 of each parent cache that is published: `parent_cache.json` of storage-proofs-porep
/// 19.1.0, copied because that module of the crate is private. Interactive proofs of versions 1 and 1.1,
/// all five sizes; synthetic and non-interactive proofs have graphs of their own that nobody published.
const PUBLISHED: [(&str, &str); 10] = [
    (
        "v28-sdr-parent-21981246c370f9d76c7a77ab273d94bde0ceb4e938292334960bce05585dc117",
        "93deeac5e3052b6927467d4b2641bb782f05491de18d510147c93eeedd8672da",
    ),
    (
        "v28-sdr-parent-2aa9c77c3e58259481351cc4be2079cc71e1c9af39700866545c043bfa30fb42",
        "3adcc092423aa76d6a7184016893406da44dd974b219a89cd3ece25e4e3018f5",
    ),
    (
        "v28-sdr-parent-3f0eef38bb48af1f48ad65e14eb85b4ebfc167cec18cd81764f6d998836c9899",
        "3da49221e2ed55371b86d0bf3d6526fcf128af61bed904f966428db1b531750d",
    ),
    (
        "v28-sdr-parent-4905486b7af19558ac3649bc6261411858b6add534438878c4ee3b29d8b9de0b",
        "2698b74eb2606b55b98d8b095e18b6320b47f46e00075956d48640ccd1641b03",
    ),
    (
        "v28-sdr-parent-494d91dc80f2df5272c4b9e129bc7ade9405225993af9fe34e6542a39a47554b",
        "840057702eea7652cf97e04306c30fe57174714d90de156a25eddd6075c25b97",
    ),
    (
        "v28-sdr-parent-5eed212119fd91aa6220a27f31a8966444a9381842bceb3a1ea61525bd47a5b5",
        "03cd13565ded97c240a5f52e54295ad127bd0461b57904cb3a4d79b097bbecab",
    ),
    (
        "v28-sdr-parent-7ba215a1d2345774ab90b8cb1158d296e409d6068819d7b8c7baf0b25d63dc34",
        "b5877d1963793efebc261fd8fde4dd6bc59e6b5c7abf52617a4ee023b8dc173a",
    ),
    (
        "v28-sdr-parent-8a99e8d6b6be7ab87a56b632e6739ff201c23ea14e99737c74690f0e265574d6",
        "2778a732ad46a7dc18e0564dfdf59fd321dcde74ab476fd6d3c4e6735d7cd89c",
    ),
    (
        "v28-sdr-parent-dcdabb0fbe4364bf0ac28b6a18c66de246409fa1a9020a00f33fb3e3053da6dc",
        "a76604f2f59f2744c7151653bbb1d8596b6b57d295e6fa6c1f0c41d725b502ce",
    ),
    (
        "v28-sdr-parent-e1fa5d5b811ddbd118be3412c4a8c329156b8b8acc72632bca459455b5a05a13",
        "3c4f9841fcc75aed8c695800e58d08480629f25af3a2aefd81904181d75cc0b6",
    ),
];

type Graph = StackedBucketGraph<DefaultTreeHasher>;

/// Makes sure that the library's parent cache for `proof` is there and right, and says where. The folder is
/// the one the library itself uses (`FIL_PROOFS_PARENT_CACHE`, else `/var/tmp/filecoin-parents`).
pub fn ensure_parent_cache(proof: SealProof) -> Result<PathBuf, ProofsError> {
    ensure_parent_cache_in(Path::new(&SETTINGS.parent_cache), proof)
}

/// The same in a given folder.
pub fn ensure_parent_cache_in(folder: &Path, proof: SealProof) -> Result<PathBuf, ProofsError> {
    let graph = graph(proof)?;
    let path = folder.join(format!("{}.cache", stem(&graph, proof)));
    let published = published_digest(&path);
    if is_stamped(&path, published) {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(|e| ProofsError::io(STAGE, folder, "creating folder", e))?;
    let _only_one = Lock::wait(&stamp::beside(&path, "lock")).in_stage(STAGE)?;
    if !is_stamped(&path, published) && !holds(&path, published)? {
        generate(&graph, proof, &path, published)?;
    }
    Ok(path)
}

fn graph(proof: SealProof) -> Result<Graph, ProofsError> {
    let config = convert::registered(proof).as_v1_config();
    guard::call(STAGE, Path::new("graph"), HINT, || {
        Graph::new_stacked(nodes(proof), BASE_DEGREE, EXP_DEGREE, config.porep_id, config.api_version)
    })
}

fn nodes(proof: SealProof) -> usize {
    proof.sector_size().bytes().0 as usize / NODE_SIZE
}

/// The library's file name without its ending: a hash over what the content depends on.
fn stem(graph: &Graph, proof: SealProof) -> String {
    let porep_id = convert::registered(proof).as_v1_config().porep_id;
    let mut hasher = Sha256::new();
    hasher.update(<DefaultTreeHasher as Hasher>::name());
    hasher.update(graph.identifier());
    // The four Feistel keys, little-endian, are the seed's bytes as they stand.
    hasher.update(derive_porep_domain_seed(FEISTEL_DST, porep_id));
    hasher.update((nodes(proof) as u32).to_le_bytes());
    format!("v{VERSION}-sdr-parent-{}", hex(&hasher.finalize()))
}

fn published_digest(path: &Path) -> Option<&'static str> {
    let stem = path.file_stem()?.to_str()?;
    PUBLISHED.iter().find(|(name, _)| *name == stem).map(|(_, digest)| *digest)
}

/// Whether this very file was found right before.
fn is_stamped(path: &Path, published: Option<&str>) -> bool {
    let stamped: Option<String> = stamp::read(path, STAMP);
    stamped.is_some_and(|digest| published.is_none_or(|published| published == digest))
}

/// Whether a file that nobody stamped is right; if so it is stamped. Without a published digest there is
/// nothing to hold it against, so it is not.
fn holds(path: &Path, published: Option<&str>) -> Result<bool, ProofsError> {
    let (Some(published), Some(identity)) = (published, stamp::Identity::of(path)) else {
        return Ok(false);
    };
    tracing::info!(path = %path.display(), bytes = identity.bytes, "checking the parent cache once");
    let digest = file_digest(path).map_err(|e| ProofsError::io(STAGE, path, "reading", e))?;
    if digest != published {
        tracing::warn!(path = %path.display(), digest, published, "the parent cache is damaged; making it again");
        return Ok(false);
    }
    stamp::write(path, STAMP, identity, digest).in_stage(STAGE)?;
    Ok(true)
}

fn file_digest(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    blocks::each(&mut File::open(path)?, |block| {
        hasher.update(block);
        Ok(())
    })?;
    Ok(hex(&hasher.finalize()))
}

fn generate(graph: &Graph, proof: SealProof, path: &Path, published: Option<&str>) -> Result<(), ProofsError> {
    let bytes = nodes(proof) as u64 * ENTRY_BYTES as u64;
    tracing::info!(path = %path.display(), bytes, "making the parent cache");
    durable::remove_leftovers(path).in_stage(STAGE)?;
    let mut file = AtomicFile::create(path).in_stage(STAGE)?;
    let digest = guard::call(STAGE, path, HINT, || write_entries(graph, nodes(proof), file.file()))?;
    if let Some(published) = published.filter(|published| *published != digest) {
        let what = format!("made with SHA-256 {digest}, published is {published}");
        let hint = "check this machine's memory and run it again";
        return Err(ProofsError::File { stage: STAGE, path: path.to_owned(), what, hint });
    }
    file.commit().in_stage(STAGE)?;
    let identity = stamp::Identity::of(path).expect("the file was just given this name");
    stamp::write(path, STAMP, identity, digest).in_stage(STAGE)
}

/// Writes every node's parents in order and returns the SHA-256 of what was written.
fn write_entries(graph: &Graph, nodes: usize, file: &mut File) -> anyhow::Result<String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut hasher = Sha256::new();
    let chunks: Vec<Range<usize>> =
        (0..nodes).step_by(NODES_PER_CHUNK).map(|start| start..nodes.min(start + NODES_PER_CHUNK)).collect();
    for batch in chunks.chunks(threads) {
        let computed: Vec<anyhow::Result<Vec<u8>>> = thread::scope(|scope| {
            let running: Vec<_> = batch.iter().map(|range| scope.spawn(|| entries(graph, range.clone()))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        for chunk in computed {
            let chunk = chunk?;
            hasher.update(&chunk);
            file.write_all(&chunk)?;
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn entries(graph: &Graph, range: Range<usize>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(range.len() * ENTRY_BYTES);
    let mut parents = [0u32; DEGREE];
    for node in range {
        graph.base_parents(node, &mut parents[..BASE_DEGREE])?;
        graph.generate_expanded_parents(node, &mut parents[BASE_DEGREE..]);
        bytes.extend(parents.iter().flat_map(|parent| parent.to_le_bytes()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    #[test]
    fn every_interactive_proof_has_a_published_name_and_the_others_have_none() {
        let known = |number| {
            let proof = SealProof::from_number(number).unwrap();
            let path = PathBuf::from(format!("{}.cache", stem(&graph(proof).unwrap(), proof)));
            published_digest(&path)
        };
        let mut digests: Vec<_> = (0..10).map(|number| known(number).unwrap()).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), 10);
        assert!((10..20).all(|number| known(number).is_none()));
    }

    #[test]
    fn what_is_made_has_the_published_digest() {
        let folder = tempfile::tempdir().unwrap();
        for (size, bytes) in [(SectorSize::KiB2, 3584), (SectorSize::MiB8, 14_680_064)] {
            let path = ensure_parent_cache_in(folder.path(), SealProof::v1_1(size)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
            assert_eq!(Some(file_digest(&path).unwrap().as_str()), published_digest(&path));
        }
    }

    #[test]
    fn a_torn_file_of_full_length_is_replaced_and_a_right_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let proof = SealProof::v1_1(SectorSize::KiB2);
        let path = ensure_parent_cache_in(folder.path(), proof).unwrap();
        let right = fs::read(&path).unwrap();
        let inode = stamp::Identity::of(&path).unwrap().inode;

        fs::remove_file(stamp::beside(&path, STAMP)).unwrap();
        ensure_parent_cache_in(folder.path(), proof).unwrap();
        assert_eq!(stamp::Identity::of(&path).unwrap().inode, inode, "checked and kept");
        assert!(is_stamped(&path, published_digest(&path)));

        let mut torn = right.clone();
        torn[2000..].fill(0);
        fs::write(&path, torn).unwrap();
        ensure_parent_cache_in(folder.path(), proof).unwrap();
        assert_eq!(fs::read(&path).unwrap(), right);
    }

    #[test]
    fn an_unpublished_graph_trusts_only_what_was_made_here() {
        let folder = tempfile::tempdir().unwrap();
        let synthetic: SealProof = "StackedDrg2KiBV1_1_Feat_SyntheticPoRep".parse().unwrap();
        let path = ensure_parent_cache_in(folder.path(), synthetic).unwrap();
        let right = fs::read(&path).unwrap();
        fs::write(&path, vec![0; right.len()]).unwrap();
        ensure_parent_cache_in(folder.path(), synthetic).unwrap();
        assert_eq!(fs::read(&path).unwrap(), right);
    }
}
