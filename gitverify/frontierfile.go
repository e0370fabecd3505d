package gitverify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A frontier file is a list of lines, one for each accepted step, that only
// grows. Each line has a MAC over itself and the MAC before it; the first is
// over what the frontier belongs to. A line that does not fit ends the file:
// what is before it was accepted by this verifier, and the rest is judged again
// (row C25). Cutting lines off therefore costs time and gains nothing.

// maxFrontierLine bounds one line, which holds one unit.
const maxFrontierLine = 64 << 20

// frontierFile is an open frontier file.
type frontierFile struct {
	path string
	key  []byte
	mac  []byte
	// steps are written, the last of them for this commit.
	steps int
	last  ID
	// size is that of the lines that were read.
	size int64
}

// frontierHead is what a frontier belongs to.
type frontierHead struct {
	Format     int    `json:"format"`
	Build      string `json:"build"`
	Anchor     ID     `json:"anchor"`
	Mainline   string `json:"mainline"`
	PolicyPath string `json:"policyPath"`
}

// storedStep is one line.
type storedStep struct {
	Commit  ID             `json:"commit"`
	Tree    ID             `json:"tree"`
	Policy  ID             `json:"policy"`
	Rulings []Ruling       `json:"rulings,omitempty"`
	Records []storedRecord `json:"records"`
}

type storedRecord struct {
	Checked
	Parents []ID     `json:"parents"`
	Tree    ID       `json:"tree"`
	IsURI   bool     `json:"uri,omitempty"`
	Stamped bool     `json:"stamped,omitempty"`
	Relied  []string `json:"relied,omitempty"`
	// Seen is what the log signed, so that a log cannot contradict itself unseen
	// while the verifier is down (row B27).
	Seen *storedCheckpoint `json:"seen,omitempty"`
}

type storedCheckpoint struct {
	Origin  string    `json:"origin"`
	Key     string    `json:"key"`
	Size    uint64    `json:"size"`
	Root    []byte    `json:"root"`
	Index   uint64    `json:"index"`
	Leaf    []byte    `json:"leaf"`
	Entered time.Time `json:"entered,omitzero"`
}

func (o Options) frontierPath(of history) string {
	branch := sha256.Sum256([]byte(of.mainline))
	return fmt.Sprintf("%s-%s-%x", filepath.Clean(o.FrontierFile), of.anchor[:12], branch[:4])
}

// seal is the MAC of a line, bound to all lines before it.
func (f *frontierFile) seal(line []byte) []byte {
	h := hmac.New(sha256.New, f.key)
	h.Write(f.mac)
	h.Write(line)
	return h.Sum(nil)
}

func (o Options) newFrontierFile(of history) (*frontierFile, error) {
	f := &frontierFile{path: o.frontierPath(of), key: o.FrontierKey, last: of.anchor}
	head, err := json.Marshal(frontierHead{Format: 3, Build: o.Build, Anchor: of.anchor, Mainline: of.mainline, PolicyPath: o.PolicyPath})
	if err != nil {
		return nil, fmt.Errorf("encoding the head of a frontier: %w", err)
	}
	f.mac = f.seal(head)
	return f, nil
}

// keep writes what was accepted since the file was last written. It is a
// cache: a failure is forgotten, and the file begun anew the next time.
func (v *Verifier) keep(of history, f *frontier) {
	if v.options.FrontierFile == "" {
		return
	}
	file := v.files[of]
	if file == nil || file.steps >= len(f.steps) || f.steps[file.steps].commit != file.last {
		var err error
		if file, err = v.options.newFrontierFile(of); err != nil {
			return
		}
	}
	if file.steps == len(f.steps)-1 {
		return
	}
	if err := v.write(file, f); err != nil {
		delete(v.files, of)
		return
	}
	v.files[of] = file
}

func (v *Verifier) write(file *frontierFile, f *frontier) error {
	interrupt := v.options.Interrupt
	if interrupt == nil {
		interrupt = func(string) error { return nil }
	}
	if err := interrupt(PointBeforeFrontier); err != nil {
		return err
	}
	if err := file.append(f); err != nil {
		return err
	}
	return interrupt(PointAfterFrontier)
}

// append writes the steps that the file does not have yet; a new file replaces
// what was there.
func (f *frontierFile) append(from *frontier) error {
	var out bytes.Buffer
	for i := f.steps + 1; i < len(from.steps); i++ {
		line, err := json.Marshal(from.stored(i))
		if err != nil {
			return fmt.Errorf("encoding a frontier: %w", err)
		}
		f.mac = f.seal(line)
		fmt.Fprintf(&out, "%x %s\n", f.mac, line)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if f.steps == 0 {
		flags |= os.O_TRUNC
	}
	file, err := os.OpenFile(f.path, flags, 0o600)
	if err != nil {
		return fmt.Errorf("writing a frontier: %w", err)
	}
	_, err = file.Write(out.Bytes())
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing a frontier: %w", err)
	}
	f.steps, f.last = len(from.steps)-1, from.head().commit
	return nil
}

// stored is one step as it is written.
func (f *frontier) stored(i int) storedStep {
	s := f.steps[i]
	out := storedStep{Commit: s.commit, Tree: s.tree, Policy: s.policyBlob, Rulings: s.rulings}
	for _, r := range f.records[f.steps[i-1].records:s.records] {
		out.Records = append(out.Records, storedRecord{
			Checked: r.Checked, Parents: r.parents, Tree: r.tree,
			IsURI: r.proof.isURI, Stamped: r.proof.stamped, Relied: r.proof.relied, Seen: r.proof.seen.stored(),
		})
	}
	return out
}

// load continues a fresh frontier with what the file of its anchor holds. The
// policies are read from the objects again, which hash to their names.
func (v *Verifier) load(ctx context.Context, w *walk) {
	of := w.request.history()
	if v.options.FrontierFile == "" || v.files[of] != nil {
		return
	}
	file, err := v.options.newFrontierFile(of)
	if err != nil {
		return
	}
	in, err := os.Open(file.path)
	if err != nil {
		return
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxFrontierLine)
	for lines.Scan() {
		if !w.take(ctx, file, lines.Bytes()) {
			break
		}
	}
	// What is left over is not ours: the file is begun anew instead of continued.
	if info, err := in.Stat(); err == nil && file.steps > 0 && file.size == info.Size() {
		v.files[of] = file
	}
	w.suspect(v.prover)
}

// take accepts one line, if it is the next that this verifier wrote.
func (w *walk) take(ctx context.Context, f *frontierFile, line []byte) bool {
	seal, body, _ := bytes.Cut(line, []byte(" "))
	mac := f.seal(body)
	if !hmac.Equal(seal, fmt.Appendf(nil, "%x", mac)) {
		return false
	}
	var s storedStep
	if err := json.Unmarshal(body, &s); err != nil || len(s.Records) == 0 {
		return false
	}
	policy, err := w.readPolicy(ctx, s.Policy)
	if err != nil {
		return false
	}
	var unit []*record
	for i, r := range s.Records {
		restored := r.restore(len(w.records) + i + 1)
		if r.Seen != nil && w.seen.admit(restored.proof) != nil {
			return false // it is judged again, and says so
		}
		unit = append(unit, restored)
	}
	w.accept(acceptedStep{commit: s.Commit, tree: s.Tree, policy: policy, policyBlob: s.Policy, rulings: s.Rulings}, unit)
	f.mac, f.steps, f.last = mac, f.steps+1, s.Commit
	f.size += int64(len(line)) + 1
	return true
}

func (s storedRecord) restore(order int) *record {
	r := &record{Checked: s.Checked, parents: slices.Clone(s.Parents), tree: s.Tree, order: order}
	r.proof = proof{
		certified: certified{issuer: s.Signer.Issuer, subject: s.Signer.Subject, isURI: s.IsURI},
		at:        s.SignedAt.In(time.UTC), stamped: s.Stamped, logIndex: s.LogIndex, relied: s.Relied,
	}
	if s.Seen != nil {
		r.proof.seen = s.Seen.restore()
	}
	if digest, err := hex.DecodeString(strings.TrimPrefix(s.Payload, "sha256:")); err == nil {
		copy(r.proof.payload[:], digest)
	}
	return r
}

// stored is nil for what no log has seen.
func (c checkpoint) stored() *storedCheckpoint {
	if c.origin == "" {
		return nil
	}
	return &storedCheckpoint{
		Origin: c.origin, Key: c.key, Size: c.size, Root: c.root[:], Index: c.index, Leaf: c.leaf[:], Entered: c.entered,
	}
}

func (s *storedCheckpoint) restore() checkpoint {
	c := checkpoint{origin: s.Origin, key: s.Key, size: s.Size, index: s.Index, entered: s.Entered.In(time.UTC)}
	copy(c.root[:], s.Root)
	copy(c.leaf[:], s.Leaf)
	return c
}
