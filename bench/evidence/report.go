package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/bench/figures"
)

// of are the seconds of all undisturbed revisions.
func (b *benchmark) of(what func(timing) float64) figures.Series {
	var out figures.Series
	for _, r := range b.rounds {
		out = append(out, r.of(what)...)
	}
	return out
}

func (r round) of(what func(timing) float64) figures.Series {
	var out figures.Series
	for _, t := range r.timings {
		out = append(out, what(t))
	}
	return out
}

// each is a number of every round.
func (b *benchmark) each(what func(round) float64) figures.Series {
	var out figures.Series
	for _, r := range b.rounds {
		out = append(out, what(r))
	}
	return out
}

func (r round) count() float64 { return float64(len(r.followed)) }

// evidence is what a revision waits for its evidence before its first write and
// after its last, in the middle of a round.
func evidence(r round) float64 {
	return r.of(func(t timing) float64 { return t.before + t.after }).Median()
}

// restarts are the seconds until all was done after those SIGKILLs that no other
// followed in that time.
func (b *benchmark) restarts() figures.Series {
	var out figures.Series
	for _, d := range b.deaths {
		if d.steady > 0 {
			out = append(out, d.steady)
		}
	}
	return out
}

// afterwards are the redundant writes since the first SIGKILL.
func (b *benchmark) afterwards() int { return sum(b.redundant[1]) - sum(b.redundant[0]) }

func sum(counts map[object]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// report prints everything as a section of Markdown.
func (b *benchmark) report(out io.Writer) {
	fmt.Fprintf(out, "%s, %d cores (%s), Linux %s, %s; kube-apiserver 1.36.3 and etcd 3.6.8 with fsync and an audit log, Fulcio, Rekor, a timestamp authority, cosign 2.6.5. The controller signs: %s. %d revisions in %d rounds, median (smallest–largest) of those; then %d SIGKILLs (seed %d); %d ConfigMaps; %d records kept in the cluster. Load average before and after: %s, %s. The run took %s.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), figures.CPUModel(), figures.Kernel(), runtime.Version(), b.signer, b.revisions, b.config.rounds, b.kills, b.seed, b.small, b.keep,
		b.load[0], b.load[1], time.Since(b.began).Round(time.Second))
	b.throughput(out)
	b.waiting(out)
	b.others(out)
	b.crashes(out)
	b.proven(out)
	figures.Aims(out, b.aims())
}

func (b *benchmark) throughput(out io.Writer) {
	fmt.Fprintf(out, "\n**Back to back: each revision is pushed when the one before is applied, recorded, and stored in the registry**\n\n")
	figures.Head(out, "", "in a round")
	per := float64(b.perRevision)
	figures.Row(out, "revisions", b.each(round.count).Spread("%.0f"))
	figures.Row(out, "wall with the pushes, s", b.each(func(r round) float64 { return r.wall }).Spread("%.1f"))
	figures.Row(out, "revisions and records in a second", b.rate(1).Spread("%.2f"))
	figures.Row(out, fmt.Sprintf("attestations in a second (%d statements for each revision)", b.perRevision), b.rate(per).Spread("%.2f"))
	figures.Row(out, "entries in the transparency log for each revision", b.entries().Spread("%.2f"))
	figures.Row(out, "requests to the API server for each revision, without watches", fmt.Sprintf("%.1f", float64(len(b.asked))/float64(b.revisions)))
	kinds := byKind(b.asked)
	fmt.Fprintf(out, "\nThe requests of all %d: %s.\n", b.revisions, strings.Join(kinds, ", "))
}

// rate is how many of something that comes with a revision there were in a second.
func (b *benchmark) rate(per float64) figures.Series {
	return b.each(func(r round) float64 { return per * r.count() / r.wall })
}

func (b *benchmark) entries() figures.Series {
	return b.each(func(r round) float64 { return float64(r.entries) / r.count() })
}

func (b *benchmark) waiting(out io.Writer) {
	fmt.Fprintf(out, "\n**What a revision waits for, by the audit log of the API server (%d revisions)**\n\n", b.revisions)
	figures.Head(out, "", "p50, ms", "p99, ms", "largest, ms", "share of the whole at p50")
	whole := b.of(func(t timing) float64 { return t.whole })
	for _, row := range []struct {
		name string
		what func(timing) float64
	}{
		{"evidence before the first write: from the last answer about the cluster to that write", func(t timing) float64 { return t.before }},
		{"of it until the verdict is stored", func(t timing) float64 { return t.verdict }},
		{"of it while the API server stores it, by its own log", func(t timing) float64 { return t.server }},
		{"evidence after the last write: from the last answer about the cluster until the record is in it", func(t timing) float64 { return t.after }},
		{"from there until the registry has it", func(t timing) float64 { return t.stored }},
		{"the whole: from the poke until the Factory says that all is done", func(t timing) float64 { return t.whole }},
	} {
		s := b.of(row.what)
		figures.Row(out, row.name, ms(s.Median()), ms(s.Quantile(0.99)), ms(slices.Max(s)), fmt.Sprintf("%.0f %%", 100*s.Median()/whole.Median()))
	}
	var parts []string
	for _, stage := range []string{"fetch", "verify", "render", "permit", "test", "observe", "apply", "attest"} {
		parts = append(parts, fmt.Sprintf("%s %.1f", stage, b.stages[stage]*1e3/float64(b.revisions)))
	}
	fmt.Fprintf(out, "\nThe stages by the controller's own metrics, ms for each revision: %s. What is before the first write stands between observe and apply and is in neither.\n", strings.Join(parts, ", "))
}

func ms(seconds float64) string { return fmt.Sprintf("%.1f", seconds*1e3) }

func (b *benchmark) others(out io.Writer) {
	fmt.Fprintf(out, "\n**The evidence of one revision (%d attestations) beside others, in the same rounds**\n\n", b.perRevision)
	figures.Head(out, "", "ms for a revision", "÷ ours", "attestations in a second")
	per := float64(b.perRevision)
	ours := b.each(evidence)
	for _, row := range []struct {
		name string
		what func(round) float64
	}{
		{"millwright: before the first write and after the last, with what its signer asks for, two objects and a status", evidence},
		{"the limit program: hash, sign (ECDSA P-256), write and fsync each bundle", func(r round) float64 { return r.limit / r.count() }},
		{"`cosign attest-blob --key`, " + b.services() + ", a process for each", func(r round) float64 { return r.cosignKey * per }},
		{"`cosign attest-blob`, logged and with a timestamp, with a certificate of Fulcio", func(r round) float64 { return r.cosignToken * per }},
	} {
		s := b.each(row.what)
		rate := s.Inverse()
		for i := range rate {
			rate[i] *= per
		}
		figures.Row(out, row.name, scaled(s, 1e3).Spread("%.2f"), s.Over(ours).Spread("%.3g"), rate.Spread("%.1f"))
	}
}

// services says what cosign asks for when it signs with a key: what our controller
// asks for.
func (b *benchmark) services() string {
	if b.signer == signerKey {
		return "neither logged nor with a timestamp"
	}
	return "logged and with a timestamp"
}

func scaled(s figures.Series, by float64) figures.Series {
	out := slices.Clone(s)
	for i := range out {
		out[i] *= by
	}
	return out
}

func (b *benchmark) crashes(out io.Writer) {
	if len(b.deaths) == 0 {
		return
	}
	again := 0
	for _, d := range b.deaths {
		if d.again {
			again++
		}
	}
	fmt.Fprintf(out, "\n**%d SIGKILLs at random moments of revisions, %d of them while the controller was coming back from one**\n\n", len(b.deaths), again)
	figures.Head(out, "how far the revision had come", "SIGKILLs")
	for _, place := range reachable() {
		figures.Row(out, place, fmt.Sprint(b.places[place]))
	}
	fmt.Fprintln(out)
	s := b.restarts()
	figures.Head(out, "from the SIGKILL until a new process has made its pass, and the revision is applied, recorded and stored", "number", "p50, s", "p99, s", "largest, s")
	figures.Row(out, "restart to steady", fmt.Sprint(len(s)), fmt.Sprintf("%.2f", s.Median()), fmt.Sprintf("%.2f", s.Quantile(0.99)), fmt.Sprintf("%.2f", slices.Max(s)))
}

// proven is what the records say.
func (b *benchmark) proven(out io.Writer) {
	fmt.Fprintf(out, "\n**What was left behind**\n\n")
	figures.Head(out, "", "")
	p := b.proof
	figures.Row(out, "`millwright audit` of an export, every revision rendered", string(p.audited))
	figures.Row(out, "records, numbered from 1 without a gap", fmt.Sprint(p.records))
	figures.Row(out, "revisions that were seen in the cluster", fmt.Sprint(p.observed))
	figures.Row(out, "of them without a record", fmt.Sprint(len(p.lost)))
	figures.Row(out, "with two, or written twice", fmt.Sprint(len(p.doubled)))
	figures.Row(out, "redundant writes while nothing was killed", fmt.Sprint(sum(b.redundant[0])))
	figures.Row(out, "redundant writes after that", fmt.Sprint(b.afterwards()))
	if names := largest(b.redundant[1]); len(names) > 0 {
		fmt.Fprintf(out, "\nRedundant were writes of %s.\n", strings.Join(names, ", "))
	}
	for _, wrong := range p.wrong[:min(len(p.wrong), 10)] {
		fmt.Fprintf(out, "\n- **%s**\n", wrong)
	}
}

// largest names the objects with the most, and how many.
func largest(counts map[object]int) []string {
	var objects []object
	for o := range counts {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a.String(), b.String()))
	})
	var out []string
	for _, o := range objects[:min(len(objects), 10)] {
		out = append(out, fmt.Sprintf("%s (%d)", o, counts[o]))
	}
	return out
}

// aims are the promises about evidence.
func (b *benchmark) aims() []figures.Aim {
	var added, restarted, writes, lost, doubled figures.Series
	if s := b.of(func(t timing) float64 { return t.before }); len(s) > 0 {
		added = figures.Series{s.Quantile(0.99) * 1e3}
	}
	if b.proof.audited != "" {
		lost, doubled = figures.Series{float64(len(b.proof.lost))}, figures.Series{float64(len(b.proof.doubled))}
	}
	if len(b.deaths) > 0 {
		restarted, writes = b.restarts(), figures.Series{float64(b.afterwards())}
	}
	ours := b.each(evidence)
	return []figures.Aim{
		figures.AtMost("added to a revision before its first write, p99, ms", 15, added),
		figures.AtLeast("attestations in a second, back to back", 1000, b.rate(float64(b.perRevision))),
		figures.AtMost("evidence of a revision, ours ÷ limit", 1.5, ours.Over(b.each(func(r round) float64 { return r.limit / r.count() }))),
		figures.AtMost("entries in the transparency log for each revision", 1, b.entries()),
		figures.AtMost("lost: seen in the cluster, without a record", 0, lost),
		figures.AtMost("doubled: two records, or written twice", 0, doubled),
		figures.AtMost("restart to steady, s", 2, restarted),
		figures.AtMost("redundant writes after SIGKILLs", 0, writes),
	}
}
