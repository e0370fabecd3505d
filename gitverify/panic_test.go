package gitverify

import (
	"errors"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestAPanicOfTheVerifierRefusesThatCommit(t *testing.T) { // row B33
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := virtual.SignCommit([]byte(fuzzHead+"\nmessage\n"), sigstoretest.SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := splitCommit(signed)
	if err != nil {
		t.Fatal(err)
	}
	broken := &signatureVerifier{} // its sigstore verifier is nil
	_, err = broken.prove(t.Context(), c.payload, c.armored, nil)
	var no *Refusal
	if !errors.As(err, &no) || no.Code != codePanic {
		t.Errorf("got %v", err)
	}
}
