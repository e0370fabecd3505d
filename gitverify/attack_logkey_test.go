package gitverify_test

import (
	"go/parser"
	gotoken "go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// A client that asks a log for the log's own key believes whoever answers
// (GHSA-xvrc-2wvh-49vc). Here a key comes from the trusted root or not at all.
func TestAttacksWithALogThatBringsItsOwnKey(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		signing("B21", "entry of a log that vouches for itself", "log/unknown", sigstoretest.SignOptions{ForeignLog: true}),
		{"B21", "entry of such a log under the name of the known one", "log/checkpoint", func(s scene) outcome {
			var known []byte // the id of the log in the trusted root
			twin := s.signed(sigstoretest.SignOptions{NoPromise: true, Stamp: true, EditEntry: func(e *rekorpb.TransparencyLogEntry) { known = e.LogId.KeyId }})
			bad := s.signed(sigstoretest.SignOptions{
				NoPromise: true, Stamp: true, ForeignLog: true,
				EditEntry: func(e *rekorpb.TransparencyLogEntry) { e.LogId.KeyId = known },
			})
			return alone(bad, twin)
		}},
	})
}

func TestTheVerifierHasNoNetworkToAskALogForItsKey(t *testing.T) { // row B21
	t.Parallel()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if path == "net" || path == "net/http" || strings.HasPrefix(path, "github.com/sigstore/rekor/") {
				t.Errorf("%s imports %s", file.Name(), path)
			}
		}
	}
}
