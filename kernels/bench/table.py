#!/usr/bin/env python3
"""Tables of docs/kernels.md from the JSON of kernels_cuda_bench or kernels_cpu_bench: medians, every kernel, losers too.

usage: table.py RESULT.json [--only-shape 14336x4096] [--only-batch 1,4,16]

Names in the file are <rows>x<inputs>/b<batch>/<kernel>. The denominator of a group is its fastest dense product: the
faster of cublas_gemmex and cublas_lt, or dense_fp32 (dense_bf16 is shown beside it).
"""
import argparse
import collections
import json
import statistics


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result")
    parser.add_argument("--only-shape", default="")
    parser.add_argument("--only-batch", default="")
    args = parser.parse_args()
    with open(args.result) as file:
        data = json.load(file)
    samples = collections.defaultdict(list)
    rates, errors, refused = {}, {}, {}
    for entry in data["benchmarks"]:
        if entry.get("run_type") == "aggregate":
            continue
        shape, batch, kernel = entry["run_name"].split("/")[:3]
        key = (shape, int(batch[1:]), kernel)
        if entry.get("error_occurred"):
            refused[key] = entry.get("error_message", "")
            continue
        scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[entry["time_unit"]]
        samples[key].append(entry["real_time"] * scale)
        rates.setdefault(key, []).append(entry.get("bytes_per_second", 0.0) / 1e9)
        errors[key] = entry.get("relative_error", 0.0)
    context = data["context"]
    names = ("gpu", "cuda_driver", "sm_clock_khz", "memory_clock_khz", "cpu_level", "threads", "rotated_bytes", "huge_pages", "commit", "date")
    print("; ".join(f"{name} {context[name]}" for name in names if name in context))
    shapes = [s for s in args.only_shape.split(",") if s]
    batches = [int(b) for b in args.only_batch.split(",") if b]
    groups = collections.defaultdict(dict)
    for (shape, batch, kernel), times in samples.items():
        if (not shapes or shape in shapes) and (not batches or batch in batches):
            groups[(shape, batch)][kernel] = times
    for (shape, batch), kernels in groups.items():
        medians = {kernel: statistics.median(times) for kernel, times in kernels.items()}
        dense = [k for k in ("cublas_gemmex", "cublas_lt", "dense_fp32") if k in medians]
        if not dense:
            continue
        base = min(medians[k] for k in dense)
        floor = medians.get("read_2bit")
        print(f"\n**{shape}, batch {batch}** (denominator {base:.2f} us)\n")
        print("| kernel | us | spread | ratio | GB/s of weights | relative error |" + (" share of the 2-bit read floor |" if floor else ""))
        print("| --- | --- | --- | --- | --- | --- |" + (" --- |" if floor else ""))
        for kernel in sorted(medians, key=medians.get):
            key = (shape, batch, kernel)
            spread = (max(kernels[kernel]) - min(kernels[kernel])) / medians[kernel]
            row = (f"| {kernel} | {medians[kernel]:.2f} | {spread:.0%} | {base / medians[kernel]:.2f}x | "
                   f"{statistics.median(rates[key]):.0f} | {errors[key]:.1e} |")
            if floor:
                row += f" {floor / medians[kernel]:.0%} |" if kernel.startswith("2x8") else " |"
            print(row)
    for (shape, batch, kernel), why in refused.items():
        print(f"\nrefused: {shape} batch {batch} {kernel}: {why}")


if __name__ == "__main__":
    main()
