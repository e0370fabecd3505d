package architecture

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// faultRows are the rows about crashes, leadership, an API server that fails,
// and what a process has on its disk: each must be a test somewhere.
var faultRows = map[string]string{
	"F12": "two controllers for one factory",
	"F14": "rights that were taken away",
	"F15": "secrets in what the controller says",
	"F16": "listeners beyond loopback",

	"G01": "an API server that is away at the start",
	"G02": "an API server that goes away in the middle",
	"G06": "an answer that got lost",
	"G07": "garbage for an answer",
	"G10": "rights taken away for one kind",
	"G11": "a token that is no longer taken",
	"G13": "a watch that breaks",
	"G14": "events that come late, twice or in another order",
	"G15": "a list from an old cache",
	"G16": "one of two API servers that is behind",
	"G18": "etcd restored to an older state",
	"G19": "another cluster at the same address",
	"G21": "an aggregated API that is down",
	"G23": "clocks that disagree",

	"K01": "killed after the refs were listed",
	"K02": "killed in the middle of a fetch",
	"K03": "killed after the fetch",
	"K04": "killed in the middle of verifying",
	"K05": "killed beside the frontier's write",
	"K06": "killed in the middle of rendering",
	"K07": "killed beside a file's getting its name",
	"K08": "killed between intent and first write",
	"K09": "killed between a write and its record",
	"K10": "killed in the middle of pruning",
	"K11": "killed before the attestation",
	"K12": "killed in the middle of the upload",
	"K13": "state files torn by a power loss",
	"K14": "a full disk",
	"K15": "a disk that fails, no more files",
	"K16": "a disk that fails after it took the bytes",
	"K18": "a clock that jumps",
	"K19": "asked to end in the middle of a write",
	"K20": "stopped for longer than the lease",
	"K22": "a renderer that panics",
	"K23": "growth over many passes",
	"K24": "state of another version",

	"L01": "a leader that changes in the middle",
	"L02": "two that believe to lead",
	"L03": "a lease that somebody deletes or takes",
	"L04": "a standby with an empty disk",
	"L05": "a partition with drift meanwhile",
	"L06": "a partition in one direction",
}

var (
	faultName = regexp.MustCompile(`^([FGKL][0-9]{2})\b`)
	faultWord = regexp.MustCompile(`\b[FGKL][0-9]{2}\b`)
)

func TestEveryRowAboutFaultsIsATest(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, file := range tracked(t, "*_test.go") {
		if strings.HasPrefix(file, "internal/architecture/") {
			continue
		}
		src := read(t, file)
		for _, m := range rowComment.FindAllSubmatch(src, -1) {
			for _, row := range faultWord.FindAllString(string(m[1]), -1) {
				found[row] = true
			}
		}
		literals(t, file, src, func(text string) {
			if m := faultName.FindStringSubmatch(text); m != nil {
				found[m[1]] = true
			}
		})
	}
	for _, row := range slices.Sorted(maps.Keys(faultRows)) {
		if !found[row] {
			t.Errorf("no test is named for %s: %s", row, faultRows[row])
		}
	}
}
