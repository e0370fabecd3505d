// Package figures is how the benchmarks tell what they measured: numbers of
// several rounds with their spread, rows of Markdown, aims with their answers,
// and what machine it was.
//
// It measures nothing, and rounds nothing in anybody's favour: an aim is met when
// the worst of what was measured meets it, and one without a measurement says so.
package figures

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// Series are numbers, one for each round, or one for each sample.
type Series []float64

// Median is the middle one.
func (s Series) Median() float64 { return s.Quantile(0.5) }

// Quantile is the one below which a share of all lies; not a number of nothing.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Spread is the median with the smallest and the largest.
func (s Series) Spread(format string) string {
	if len(s) == 0 {
		return "–"
	}
	text := fmt.Sprintf(format, s.Median())
	if len(s) == 1 {
		return text
	}
	return fmt.Sprintf("%s ("+format+"–"+format+")", text, slices.Min(s), slices.Max(s))
}

// Over divides round by round, so that what disturbed a round hits both.
func (s Series) Over(o Series) Series {
	out := make(Series, min(len(s), len(o)))
	for i := range out {
		out[i] = s[i] / o[i]
	}
	return out
}

// Inverse is one divided by each.
func (s Series) Inverse() Series {
	out := make(Series, len(s))
	for i, x := range s {
		out[i] = 1 / x
	}
	return out
}

// Turn is the order of a round: everybody is first once.
func Turn(names []string, round int) []string {
	at := round % len(names)
	return append(slices.Clone(names[at:]), names[:at]...)
}

// Row prints a row of a table.
func Row(out io.Writer, cells ...string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }

// Head prints the first row of a table, and the line below it.
func Head(out io.Writer, cells ...string) {
	Row(out, cells...)
	Row(out, slices.Repeat([]string{"---"}, len(cells))...)
}

// Kernel is the version of Linux.
func Kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(data))
}

// LoadAverage is that of the last minute.
func LoadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// CPUModel is what the processor says that it is.
func CPUModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unknown processor"
}
