//! Cores that PC1 leaves, dealt to the other stages.
//!
//! A pool holds the cores of each node in the order in which they are given away: first those that PC1 leaves over in
//! its own groups, then groups that it does not use. A stage with a processor at home on every node takes each
//! processor's cores there; with fewer, each processor takes evenly from all nodes, so that no node's cores lie idle.

/// The free cores of each node, each by its first CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool(pub Vec<Vec<u32>>);

/// What one processor got: cores, and the node if they are all of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dealt {
    pub cores: Vec<u32>,
    pub node: Option<usize>,
}

impl Pool {
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Takes so many cores of each node from the end of what PC1 leaves over, or else of its pool: for the system.
    pub fn reserve(&mut self, counts: &[usize], left_over: &[usize]) -> Vec<u32> {
        let mut taken = Vec::new();
        for ((cores, left_over), count) in self.0.iter_mut().zip(left_over).zip(counts) {
            let end = if left_over >= count { *left_over } else { cores.len() };
            let start = end.saturating_sub(*count);
            taken.extend(cores.drain(start..end));
        }
        taken
    }

    /// A share for each processor at `homes`: `want` cores, or all that is there.
    pub fn deal(&mut self, homes: &[Option<usize>], want: Option<usize>) -> Vec<Dealt> {
        if homes.is_empty() {
            return Vec::new();
        }
        let is_local = homes.iter().all(|home| home.is_some_and(|node| !self.0[node].is_empty()))
            && (0..self.0.len()).all(|node| self.0[node].is_empty() || homes.contains(&Some(node)));
        if is_local { self.deal_at_home(homes, want) } else { self.deal_evenly(homes.len(), want) }
    }

    fn deal_at_home(&mut self, homes: &[Option<usize>], want: Option<usize>) -> Vec<Dealt> {
        let mut left: Vec<usize> =
            (0..self.0.len()).map(|node| homes.iter().filter(|home| **home == Some(node)).count()).collect();
        homes
            .iter()
            .map(|home| {
                let node = home.expect("every home is a node: that is what local means");
                let fair = self.0[node].len() / left[node].max(1);
                left[node] -= 1;
                let count = want.map_or(fair, |want| want.min(fair));
                Dealt { cores: self.0[node].drain(..count).collect(), node: Some(node) }
            })
            .collect()
    }

    fn deal_evenly(&mut self, processors: usize, want: Option<usize>) -> Vec<Dealt> {
        (0..processors)
            .map(|place| {
                let fair = self.len() / (processors - place);
                let count = want.map_or(fair, |want| want.min(fair));
                let cores = self.take_evenly(count);
                Dealt { node: self.only_node().filter(|_| !cores.is_empty()), cores }
            })
            .collect()
    }

    /// The nodes in turn, as many from each as from the next as long as they last.
    fn take_evenly(&mut self, count: usize) -> Vec<u32> {
        let mut counts = vec![0; self.0.len()];
        let mut missing = count.min(self.len());
        while missing > 0 {
            for (node, cores) in self.0.iter().enumerate() {
                if missing > 0 && counts[node] < cores.len() {
                    counts[node] += 1;
                    missing -= 1;
                }
            }
        }
        self.0.iter_mut().zip(counts).flat_map(|(cores, count)| cores.drain(..count).collect::<Vec<_>>()).collect()
    }

    fn only_node(&self) -> Option<usize> {
        (self.0.len() == 1).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CpuList;

    fn pool(nodes: &[&str]) -> Pool {
        Pool(nodes.iter().map(|list| list.parse::<CpuList>().unwrap().iter().collect()).collect())
    }

    fn cpus(dealt: &[u32]) -> String {
        dealt.iter().copied().collect::<CpuList>().to_string()
    }

    fn sets(dealt: &[Dealt]) -> Vec<String> {
        dealt.iter().map(|dealt| cpus(&dealt.cores)).collect()
    }

    #[test]
    fn one_processor_takes_evenly_from_all_nodes() {
        let mut pool = pool(&["2,5,8,11,14,17", "50,53,56,59,62"]);
        assert_eq!(sets(&pool.deal(&[Some(0)], Some(8))), ["2,5,8,11,50,53,56,59"]);
        assert_eq!(sets(&pool.deal(&[Some(1)], None)), ["14,17,62"]);
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn processors_on_every_node_stay_at_home() {
        let mut pool = pool(&["0-3", "10-15"]);
        let dealt = pool.deal(&[Some(0), Some(1)], Some(3));
        assert_eq!((sets(&dealt), dealt[1].node), (vec!["0-2".to_owned(), "10-12".to_owned()], Some(1)));
        assert_eq!(sets(&pool.deal(&[Some(0), Some(1), Some(1)], None)), ["3", "13", "14-15"]);
    }

    #[test]
    fn a_pool_that_is_too_small_is_shared_fairly() {
        assert_eq!(sets(&pool(&["0-3"]).deal(&[Some(0), Some(0)], Some(8))), ["0-1", "2-3"]);
        assert_eq!(sets(&pool(&["0"]).deal(&[Some(0), Some(0)], Some(8))), ["", "0"]);
    }

    #[test]
    fn the_system_gets_the_last_cores_that_pc1_leaves() {
        let mut pool = pool(&["2,5,38,41,42-47", "50,53"]);
        assert_eq!(cpus(&pool.reserve(&[2, 2], &[4, 0])), "38,41,50,53");
        assert_eq!(cpus(&pool.0[0]), "2,5,42-47");
    }
}
