package gitverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/merkle/rfc6962"
)

// checkCheckpoint is strict about the signed note in an inclusion proof (the
// C2SP formats tlog-checkpoint and signed-note): its text is signed, but the
// line of the signature is not, and the libraries that verify it neither
// compare the tree size nor look at the name. One signature, canonical base64,
// by the log that the text names, for the size and root of the proof.
func checkCheckpoint(proof *rekorpb.InclusionProof) error {
	text, signature, ok := strings.Cut(proof.GetCheckpoint().GetEnvelope(), "\n\n")
	if !ok {
		return refuse(codeCheckpoint, "the checkpoint is not a signed note")
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return refuse(codeCheckpoint, "the checkpoint has no origin, size and root")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || !bytes.Equal(root, proof.GetRootHash()) || lines[1] != strconv.FormatInt(proof.GetTreeSize(), 10) {
		return refuse(codeCheckpoint, "the checkpoint is for another size or root than the proof")
	}
	// Rekor v1 writes "<host> - <tree id>" as origin and signs as <host>.
	name, _, _ := strings.Cut(lines[0], " - ")
	encoded, ok := strings.CutPrefix(signature, "\u2014 "+name+" ")
	if !ok {
		return refuse(codeCheckpoint, "the checkpoint is not signed by its origin")
	}
	encoded, ok = strings.CutSuffix(encoded, "\n")
	if _, err := base64.StdEncoding.Strict().DecodeString(encoded); !ok || err != nil || strings.ContainsAny(encoded, "\r\n") {
		return refuse(codeCheckpoint, "the checkpoint has not exactly one canonical signature")
	}
	return nil
}

// checkpoint is a state of a log that a signature proves: what the log signed,
// and the leaf that was proven to be in it.
type checkpoint struct {
	// origin names the log and its tree, key the log's key.
	origin, key string
	size        uint64
	root        [sha256.Size]byte
	index       uint64
	leaf        [sha256.Size]byte
	// entered is when the log says that it took the leaf in; zero if the log
	// gave no signed time.
	entered time.Time
}

// seenCheckpoint is what a verified entry says of its log.
func seenCheckpoint(entry *rekorpb.TransparencyLogEntry) checkpoint {
	p := entry.GetInclusionProof()
	origin, _, _ := strings.Cut(p.GetCheckpoint().GetEnvelope(), "\n")
	var entered time.Time
	if len(entry.GetInclusionPromise().GetSignedEntryTimestamp()) != 0 {
		entered = time.Unix(entry.GetIntegratedTime(), 0).UTC()
	}
	return checkpoint{
		entered: entered,
		origin:  origin, key: hex.EncodeToString(entry.GetLogId().GetKeyId()),
		size: uint64(p.GetTreeSize()), index: uint64(p.GetLogIndex()),
		root: [sha256.Size]byte(p.GetRootHash()),
		leaf: [sha256.Size]byte(rfc6962.DefaultHasher.HashLeaf(entry.GetCanonicalizedBody())),
	}
}
