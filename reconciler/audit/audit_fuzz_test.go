package audit_test

import (
	"bytes"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// Whatever an export holds: reading it does not panic, and what nobody signed
// never makes a yes.
func FuzzOpenExport(f *testing.F) {
	factory, err := audittest.New(f.TempDir(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		f.Fatal(err)
	}
	var good bytes.Buffer
	store, err := factory.Store()
	if err != nil {
		f.Fatal(err)
	}
	e := audit.Evidence{Factory: factory.Place, Ref: audittest.Ref, Records: factory.Records}
	if err := audit.Write(f.Context(), &good, e, audit.Contents{History: store}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{})
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := audit.Open(t.Context(), bytes.NewReader(data), t.TempDir())
		if err == nil && len(e.Records) > 0 {
			t.Errorf("%d records where there were none", len(e.Records))
		}
	})
}
