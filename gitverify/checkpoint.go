package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

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

// signedNote is a checkpoint as it came (the C2SP formats tlog-checkpoint and
// signed-note): text, and who signed it.
type signedNote struct {
	origin, text string
	hint         [4]byte
	signature    []byte
}

// readCheckpoint is strict about the signed note in an inclusion proof: its
// text is signed, but the line of the signature is not, and the libraries that
// verify it neither compare the tree size nor look at the name. One signature,
// canonical base64, by the log that the text names, for the size and root of
// the proof.
func readCheckpoint(proof *rekorpb.InclusionProof) (signedNote, error) {
	envelope := proof.GetCheckpoint().GetEnvelope()
	text, signature, ok := strings.Cut(envelope, "\n\n")
	if !ok {
		return signedNote{}, refuse(codeCheckpoint, "the checkpoint is not a signed note")
	}
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 3 {
		return signedNote{}, refuse(codeCheckpoint, "the checkpoint has no origin, size and root")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size || !bytes.Equal(root, proof.GetRootHash()) || lines[1] != strconv.FormatInt(proof.GetTreeSize(), 10) {
		return signedNote{}, refuse(codeCheckpoint, "the checkpoint is for another size or root than the proof")
	}
	// Rekor v1 writes "<host> - <tree id>" as origin and signs as <host>.
	name, treeID, _ := strings.Cut(lines[0], " - ")
	encoded, ok := strings.CutPrefix(signature, "\u2014 "+name+" ")
	if !ok || strings.Trim(treeID, "0123456789") != "" || treeID == "" || strings.ContainsAny(name, " \t") {
		return signedNote{}, refuse(codeCheckpoint, "the checkpoint is not signed by its origin")
	}
	encoded, ok = strings.CutSuffix(encoded, "\n")
	bin, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || strings.ContainsAny(encoded, "\r\n") || len(bin) <= 4 {
		return signedNote{}, refuse(codeCheckpoint, "the checkpoint has not exactly one canonical signature")
	}
	return signedNote{origin: lines[0], text: envelope[:len(text)+1], hint: [4]byte(bin), signature: bin[4:]}, nil
}

// signedBy verifies the log's signature on the checkpoint.
func (n signedNote) signedBy(log *logKey) error {
	digest := sha256.Sum256([]byte(n.text))
	if n.hint != log.hint || !ecdsa.VerifyASN1(log.key, digest[:], n.signature) {
		return refuse(codeCheckpoint, "the log did not sign the checkpoint")
	}
	return nil
}
