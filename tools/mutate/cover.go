package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// covering is one test and what it costs alone.
type covering struct {
	name string
	took time.Duration
}

// baseline runs each test alone without a mutant, makes sure that it passes, and
// notes which mutants it comes past: no other test can miss them.
func (p *mutated) baseline(ctx context.Context, c config, log io.Writer) (map[int][]covering, error) {
	slow, err := regexp.Compile(c.skip)
	if err != nil {
		return nil, err
	}
	wanted, err := regexp.Compile(c.run)
	if err != nil {
		return nil, err
	}
	names, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	reached, began := map[int][]covering{}, time.Now()
	for _, name := range names {
		if !wanted.MatchString(name) || !c.full && slow.MatchString(name) {
			continue
		}
		t := covering{name: name}
		ids, err := p.cover(ctx, c, &t)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			reached[id] = append(reached[id], t)
		}
	}
	fmt.Fprintf(log, "%d tests, each alone, in %s\n", len(names), time.Since(began).Round(time.Second))
	for id := range reached {
		slices.SortFunc(reached[id], func(a, b covering) int { return cmp.Compare(a.took, b.took) })
	}
	return reached, nil
}

func (p *mutated) list(ctx context.Context) ([]string, error) {
	passed, output, err := p.run(ctx, 0, "", "-test.list", "^(Test|Fuzz)")
	if err != nil || !passed {
		return nil, fmt.Errorf("listing the tests of %s: %w\n%s", p.dir, err, output)
	}
	return slices.DeleteFunc(strings.Fields(string(output)), func(s string) bool {
		return !strings.HasPrefix(s, "Test") && !strings.HasPrefix(s, "Fuzz")
	}), nil
}

// cover runs one test and reads which mutants it came past.
func (p *mutated) cover(ctx context.Context, c config, t *covering) ([]int, error) {
	note := p.binary + ".hits"
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return nil, err
	}
	began := time.Now()
	passed, output, err := p.test(ctx, c, 0, []covering{*t}, note)
	if err != nil {
		return nil, err
	}
	if !passed {
		return nil, fmt.Errorf("%s of %s fails without a mutant:\n%s", t.name, p.dir, bytes.TrimSpace(output))
	}
	t.took = time.Since(began)
	lines, err := os.ReadFile(note)
	if err != nil {
		return nil, err
	}
	var ids []int
	for line := range strings.Lines(string(lines)) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			ids = append(ids, n)
		}
	}
	return ids, nil
}

// favourites are the tests that missed the last mutants of a file: they are the
// likeliest to miss the next one.
type favourites map[string][]string

func (f favourites) add(m mutant, test string) {
	const most = 3
	last := slices.DeleteFunc(f[m.file()], func(s string) bool { return s == test })
	f[m.file()] = append([]string{test}, last[:min(len(last), most-1)]...)
}

// batches has the favourites before the others.
func (f favourites) batches(m mutant, tests []covering) [][]covering {
	likely := func(t covering) bool { return slices.Contains(f[m.file()], t.name) }
	others := batches(slices.DeleteFunc(slices.Clone(tests), likely))
	first := slices.DeleteFunc(slices.Clone(tests), func(t covering) bool { return !likely(t) })
	if len(first) == 0 {
		return others
	}
	return append([][]covering{first}, others...)
}

// batches cuts the tests that come past a mutant, cheapest first, into processes:
// most mutants are missed by the first tests, and a process costs time as well.
func batches(tests []covering) [][]covering {
	const size = 2 * time.Second
	var out [][]covering
	limit, sum := size, size
	for _, t := range tests {
		if sum += t.took; sum > limit {
			out, sum = append(out, nil), t.took
			if len(out) > 1 {
				limit *= 4
			}
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}
