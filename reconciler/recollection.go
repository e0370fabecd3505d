package reconciler

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// recollection is what a process leaves to the next one that it could find out
// for itself, only later: with whom it fights, and since when it waits for which
// gate. It is cache. A file that is lost, torn, altered or of another version says
// nothing, and the next process starts afresh.
type recollection struct {
	Repairs []recalledRepairs
	Waits   map[string]apply.Wait
}

type recalledRepairs struct {
	Object render.ID
	plan.Repairs
}

const (
	recollectionVersion = "millwright-recollection 1"
	maxRecollection     = 16 << 20
)

func (p *plant) recollectionFile() string {
	return filepath.Join(p.setup.DataDir, p.key.Namespace, p.key.Name, "recollection")
}

// recollect writes down what is worth remembering, if that changed. Failing to
// costs nothing but memory.
func (p *plant) recollect() {
	r := recollection{Waits: p.engine.Waits()}
	for id, repairs := range p.repairs {
		r.Repairs = append(r.Repairs, recalledRepairs{id, repairs})
	}
	if len(r.Repairs)+len(r.Waits) == 0 && len(p.recollected) == 0 {
		return
	}
	slices.SortFunc(r.Repairs, func(a, b recalledRepairs) int { return strings.Compare(plan.Name(a.Object), plan.Name(b.Object)) })
	body, err := json.Marshal(r)
	if err != nil || bytes.Equal(body, p.recollected) {
		return
	}
	data := slices.Concat([]byte(recollectionVersion+" "+p.sealOf(body)+"\n"), body)
	temporary := p.recollectionFile() + ".new"
	if os.WriteFile(temporary, data, 0o600) == nil && os.Rename(temporary, p.recollectionFile()) == nil {
		p.recollected = body
	}
}

// recall reads what the process before left. What lies in the future was written
// by a clock that was wrong, or by somebody else.
func (p *plant) recall() {
	if p.recalled {
		return
	}
	p.recalled = true
	info, err := os.Stat(p.recollectionFile())
	if err != nil || info.Size() > maxRecollection {
		return
	}
	data, err := os.ReadFile(p.recollectionFile())
	if err != nil {
		return
	}
	head, body, _ := bytes.Cut(data, []byte("\n"))
	seal, ours := strings.CutPrefix(string(head), recollectionVersion+" ")
	if !ours || !hmac.Equal([]byte(seal), []byte(p.sealOf(body))) {
		return
	}
	var r recollection
	if json.Unmarshal(body, &r) != nil {
		return
	}
	now := p.setup.Clock()
	p.repairs, p.recollected = plan.History{}, body
	for _, repairs := range r.Repairs {
		if !slices.ContainsFunc(repairs.Times, func(t time.Time) bool { return t.After(now) }) {
			p.repairs[repairs.Object] = repairs.Repairs
		}
	}
	p.engine.Recall(r.Waits)
}

// sealOf tells what this controller wrote from anything else. Without a key it
// only tells what is whole.
func (p *plant) sealOf(body []byte) string {
	mac := hmac.New(sha256.New, p.setup.FrontierKey)
	_, _ = mac.Write([]byte(recollectionVersion + "\n" + p.key.String() + "\n")) // a hash takes every write
	_, _ = mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
