//! Memory is measured for the whole process, so this is a program of its own.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use tensorforge::device::cpu::measured;
use tensorforge::device::{ExecuteError, Executor};
use tensorforge::models::{DataType, ModelIo, Tensor, TensorSpec};

const MIB: usize = 1 << 20;

/// Touches 8 MiB, and 4 MiB for each row, while it runs.
struct Hungry(ModelIo);

impl Executor for Hungry {
    fn backend(&self) -> &'static str {
        "hungry"
    }

    fn io(&self) -> &ModelIo {
        &self.0
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        let rows = inputs[0].shape()[0];
        let eaten = std::hint::black_box(vec![1_u8; (8 + 4 * rows) * MIB]);
        let sum: usize = eaten.iter().map(|&byte| usize::from(byte)).sum();
        assert_eq!(sum, eaten.len());
        Ok(inputs.to_vec())
    }
}

fn hungry(shape: Vec<i64>) -> Arc<dyn Executor> {
    let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape };
    Arc::new(Hungry(ModelIo { inputs: vec![spec], outputs: vec![], batches: true }))
}

#[test]
fn the_memory_of_a_batch_is_what_it_was_seen_to_take() {
    let executor = measured(hungry(vec![-1, 3]), 16).unwrap_or_else(|(_, why)| panic!("{why}"));
    // Whatever else the process does with memory meanwhile is well below 2 MiB.
    for (rows, mib) in [(1, 12), (4, 24), (16, 72)] {
        let bytes = executor.memory(rows).expect("it was measured") as usize;
        assert!(bytes.abs_diff(mib * MIB) < 2 * MIB, "{rows} rows: {bytes} bytes, not {mib} MiB");
    }
    let Err((_, why)) = measured(hungry(vec![-1, -1]), 16) else { panic!("its size is open") };
    assert_eq!(why, "input 'x' has shape [-1, -1], of which a part is open");
}
