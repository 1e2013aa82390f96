#!/usr/bin/env bash
# Every check by name. CI calls nothing else, so what fails there fails here: ./ci.sh help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=${CARGO_TARGET_DIR:-target}
venv=$PWD/.venv

help() {
    cat <<'HELP'
./ci.sh STEP...   runs the steps in the order given

  fmt          formatting
  lint         clippy over everything, warnings are errors
  arrows       which module may name which
  core         core alone: no default features, no other crate beside it
  embedded     core for Cortex-M4, Cortex-M0 and RISC-V; the firmware runs in QEMU
  doc          rustdoc, warnings are errors
  setup        the Python clients the tests drive the server with, in .venv
  test         setup, then every test of the workspace
  loom         the lock-free parts in every order in which threads can meet
  bench-smoke  every benchmark in one short round: do they still run
  all          fmt lint arrows core embedded doc loom bench-smoke test

Longer, and not part of `all`:

  histories    a million recorded histories of the queue, checked for linearizability; half an hour
  soak         a hundred million requests through the engine in virtual time; half a minute
  tsan         the lock-free parts under ThreadSanitizer; needs a nightly toolchain
  miri         the unsafe code of the queue under Miri, one thread at a time (with more it takes hours);
               needs a nightly toolchain
HELP
}

say() { printf '== %s\n' "$*"; }
die() {
    printf 'ci.sh: %s\n' "$*" >&2
    exit 1
}

need_cargo() {
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null ||
        die "cargo is missing; get Rust $(rust_version) or newer from https://rustup.rs"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# Installs those of the named Debian packages that are not there.
need_packages() {
    local missing=() package sudo=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "this step needs Debian's packages: ${missing[*]}"
    if ((EUID)); then
        command -v sudo >/dev/null ||
            die "not root and no sudo; ask for: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    local log=$target/apt.log
    mkdir -p "$target"
    { "${sudo[@]}" apt-get update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; die "apt-get failed; the whole log is in $log"; }
}

step_fmt() {
    need_cargo
    cargo fmt --all --check
    cargo fmt --check --manifest-path firmware/Cargo.toml
}

step_lint() {
    need_cargo
    cargo clippy --locked --workspace --all-targets -- -D warnings
}

step_arrows() {
    need_cargo
    # --workspace: the same features as in `test`, so that nothing is built twice.
    cargo test --locked --workspace --test architecture
}

step_core() {
    need_cargo
    cargo test --locked -p tensorforge-core --no-default-features
}

# The host's Rust has no bare-metal targets. Debian's has its library as source, and as a compiler
# that may build it if asked to.
step_embedded() {
    need_packages rustc-web cargo-web rust-web-src qemu-system-arm binutils-arm-none-eabi \
        binutils-riscv64-unknown-elf
    local -x RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    local build=(-Zbuild-std=core --locked --release --target-dir "$(realpath -m "$target")/embedded")
    local machine decisions
    for machine in thumbv7em-none-eabihf thumbv6m-none-eabi; do
        say "firmware on $machine"
        # From its folder: .cargo/config.toml there names the linker and QEMU.
        decisions=$(cd firmware &&
            timeout 600 /usr/bin/cargo run "${build[@]}" --target "$machine" </dev/null) ||
            die "the firmware failed on $machine: $decisions"
        diff --label "expected by the rules" --label "decided on $machine" -u \
            firmware/expected.txt <(printf '%s\n' "$decisions") ||
            die "the engine decides differently on $machine"
        say "$(wc -l <firmware/expected.txt) decisions as expected on $machine"
    done
    say "core on riscv32imc"
    CARGO_PROFILE_RELEASE_LTO=off /usr/bin/cargo build "${build[@]}" -p tensorforge-core \
        --features critical-section \
        --target riscv32imc-unknown-none-elf
}

step_loom() {
    need_cargo
    # Three interruptions of a thread: two are known to miss what three find.
    RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3} \
        cargo test --locked -p tensorforge-core --lib --release --target-dir "$target/loom" models
}

step_histories() {
    need_cargo
    TENSORFORGE_HISTORIES=${TENSORFORGE_HISTORIES:-1000000} \
        cargo test --locked -p tensorforge-core --lib --all-features --release \
        queue::tests::histories -- --nocapture
}

# A nightly toolchain with the named components.
need_nightly() {
    need_cargo
    command -v rustup >/dev/null || die "this step needs rustup, from https://rustup.rs"
    rustup toolchain list | grep -q '^nightly' ||
        rustup toolchain install nightly --profile minimal ||
        die "this step needs a nightly toolchain: rustup toolchain install nightly"
    rustup component add --toolchain nightly "$@" ||
        die "the nightly toolchain cannot be given: $*"
}

step_tsan() {
    need_nightly rust-src
    # The standard library is built with it too: else its locks look like races.
    RUSTFLAGS="-Zsanitizer=thread" cargo +nightly test --locked -Zbuild-std \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir "$target/tsan" \
        -p tensorforge-core --lib --all-features --release \
        -- concurrent threads_at_one_moment
}

step_miri() {
    need_nightly rust-src miri
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-tree-borrows" \
        cargo +nightly miri test --locked --target-dir "$target/miri" \
        -p tensorforge-core --lib --all-features \
        -- queue::tests::bounds queue::tests::lifetimes
}

step_doc() {
    need_cargo
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
}

step_setup() {
    local wanted=tests/python/requirements.txt installed=$venv/requirements.txt
    cmp -s "$wanted" "$installed" && [[ -x $venv/bin/python ]] && return
    command -v python3 >/dev/null || need_packages python3
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        need_packages python3-venv
    fi
    [[ -x $venv/bin/python ]] || python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --root-user-action ignore --requirement "$wanted"
    cp "$wanted" "$installed"
}

step_test() {
    need_cargo
    step_setup
    cargo test --locked --workspace --no-run
    say "test: built after $((SECONDS - started)) s"
    # Nothing is printed after this: the last lines are cargo's own results.
    TENSORFORGE_PYTHON=$venv/bin/python TENSORFORGE_REQUIRE_ONNXRUNTIME=1 VIRTUAL_ENV=$venv \
        cargo test --locked --workspace
}

step_soak() {
    need_cargo
    TENSORFORGE_SOAK=${TENSORFORGE_SOAK:-100000000} \
        cargo test --locked --release -p tensorforge-core every_counter_is_at_zero
}

step_bench-smoke() {
    need_cargo
    [[ -e benches/Cargo.toml ]] || die "there are no benchmarks yet"
    step_setup # ONNX Runtime and numpy, which the benchmarks compare with
    VIRTUAL_ENV=$venv cargo bench --locked --manifest-path benches/Cargo.toml --benches -- --quick
}

(($#)) || { help; exit 2; }
steps=()
for step in "$@"; do
    case $step in
        help | -h | --help) help; exit ;;
        all) steps+=(fmt lint arrows core embedded doc loom bench-smoke test) ;;
        *)
            declare -F "step_$step" >/dev/null || die "no step '$step'; see ./ci.sh help"
            steps+=("$step")
            ;;
    esac
done
for step in "${steps[@]}"; do
    started=$SECONDS
    say "$step: $(help | sed -n "s/^  $step  *//p")"
    "step_$step"
    [[ $step == test ]] || say "$step: passed in $((SECONDS - started)) s"
done
