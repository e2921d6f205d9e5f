//go:build linux

// Package usage reads from /proc what processes use: CPU time, memory, threads
// and descriptors, theirs and their children's. It starts and ends none of
// them, and changes nothing. CPU time is in ticks of 10 ms: measure for a while.
package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick of utime and stime in /proc/PID/stat (proc(5)): USER_HZ is 100 on every
// architecture that Go runs on under Linux.
const tick = 10 * time.Millisecond

// family is a process and its children, and theirs.
func family(pid int) []int {
	all := []int{pid}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return all
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue // the thread is gone
		}
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, family(n)...)
			}
		}
	}
	return all
}

// sum adds what read finds for each of the processes and their children. A
// child may end meanwhile, and counts nothing.
func sum[N int | int64 | time.Duration](pids []int, read func(pid int) (N, error)) (N, error) {
	var total N
	for _, pid := range pids {
		for _, member := range family(pid) {
			n, err := read(member)
			if gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH); gone && member != pid {
				continue
			}
			if err != nil {
				return 0, fmt.Errorf("usage of process %d: %w", member, err)
			}
			total += n
		}
	}
	return total, nil
}

// CPU is the time that the processes have run so far, all their threads and
// children together.
func CPU(pids ...int) (time.Duration, error) {
	return sum(pids, func(pid int) (time.Duration, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name, in parentheses, may hold anything: fields count from behind it.
		const utime, stime = 11, 12
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) <= stime {
			return 0, errors.New("/proc/PID/stat is too short")
		}
		user, err1 := strconv.ParseInt(string(fields[utime]), 10, 64)
		system, err2 := strconv.ParseInt(string(fields[stime]), 10, 64)
		return time.Duration(user+system) * tick, errors.Join(err1, err2)
	})
}

// Memory is the proportional set size in bytes: pages that the processes share
// count once.
func Memory(pids ...int) (int64, error) { return rollup("Pss:", pids) }

// Resident is the resident set size in bytes: what each would hold if it were
// alone on its host.
func Resident(pids ...int) (int64, error) { return rollup("Rss:", pids) }

func rollup(field string, pids []int) (int64, error) {
	return sum(pids, func(pid int) (int64, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if rest, found := strings.CutPrefix(line, field); found {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				return kib << 10, err
			}
		}
		return 0, fmt.Errorf("/proc/PID/smaps_rollup has no %s", field)
	})
}

// Threads is the number of threads.
func Threads(pids ...int) (int, error) { return entries("task", pids) }

// Descriptors is the number of open descriptors.
func Descriptors(pids ...int) (int, error) { return entries("fd", pids) }

func entries(dir string, pids []int) (int, error) {
	return sum(pids, func(pid int) (int, error) {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
		return len(list), err
	})
}
