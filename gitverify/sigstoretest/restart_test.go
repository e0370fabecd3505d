package sigstoretest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	transparency "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/google/go-cmp/cmp"
	rekor "github.com/sigstore/rekor/pkg/client"
	rekorapi "github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/client/tlog"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/rekor/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// logged is an entry of Rekor, and the request that made it.
type logged struct {
	uuid    string
	request []byte
	entry   models.LogEntryAnon
}

// TestTheLogsOutliveTrillian is the restart of a pod in bases/sigstore, seen by who
// verifies: Rekor's own verifier, and a client of the certificate log.
func TestTheLogsOutliveTrillian(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), t.TempDir(), Options{Progress: os.Stderr, keepLogs: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	api, err := rekor.GetRekorClient(s.RekorURL, rekor.WithRetryCount(0))
	if err != nil {
		t.Fatal(err)
	}
	key := s.rekorKey(t)
	ct := s.ctClient(t)
	var before []logged
	for i := range 5 {
		before = append(before, s.logOne(t, fmt.Sprintf("before %d", i)))
	}
	head := treeHead(t, api, key)
	var certificates *transparency.SignedTreeHead
	eventually(t, func() error {
		if certificates, err = ct.GetSTH(t.Context()); err == nil && certificates.TreeSize < uint64(len(before)) {
			err = fmt.Errorf("%d certificates were issued, %d are logged", len(before), certificates.TreeSize)
		}
		return err
	})

	for range 2 {
		trillian := s.processes["trillian"]
		if err := trillian.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-trillian.Done()
		if _, err := api.Tlog.GetLogInfo(tlog.NewGetLogInfoParamsWithContext(t.Context())); err == nil {
			t.Fatal("Rekor does without Trillian")
		}
		if err := s.startTrillian(s.file("ct.tree")); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			_, err := api.Tlog.GetLogInfo(tlog.NewGetLogInfoParamsWithContext(t.Context()))
			return err
		})
		if now := treeHead(t, api, key); now.Size != head.Size || !bytes.Equal(now.Hash, head.Hash) {
			t.Errorf("Rekor had %d entries under %x, and has %d under %x", head.Size, head.Hash, now.Size, now.Hash)
		}
	}
	for _, was := range before {
		is := fetch(t, api, was.uuid)
		if diff := cmp.Diff(was.entry.Body, is.Body) + cmp.Diff(was.entry.IntegratedTime, is.IntegratedTime) + cmp.Diff(was.entry.LogIndex, is.LogIndex); diff != "" {
			t.Errorf("an entry is another one: %s", diff)
		}
		for name, e := range map[string]models.LogEntryAnon{"before": was.entry, "now": is} {
			if err := verify.VerifyLogEntry(t.Context(), &e, key); err != nil {
				t.Errorf("the entry of %s does not verify: %v", name, err)
			}
		}
		if code, body := s.post(t, was.request); code != http.StatusConflict || !strings.Contains(body, was.uuid) {
			t.Errorf("logged again, Rekor answers %d: %s", code, body)
		}
	}
	after := s.logOne(t, "after")
	if *after.entry.LogIndex != int64(len(before)) {
		t.Errorf("the next entry has index %d", *after.entry.LogIndex)
	}
	if _, err := verify.VerifyCurrentCheckpoint(t.Context(), api, key, &head); err != nil {
		t.Errorf("the log is not consistent with what it was: %v", err)
	}
	grown(t, ct, certificates.TreeSize, certificates.SHA256RootHash[:])
}

// grown proves that the certificate log has gone on from what it was.
func grown(t *testing.T, ct *client.LogClient, size uint64, root []byte) {
	t.Helper()
	eventually(t, func() error {
		now, err := ct.GetSTH(t.Context()) // and checks its signature
		if err == nil && now.TreeSize <= size {
			err = fmt.Errorf("the certificate log has %d entries still", now.TreeSize)
		}
		if err != nil {
			return err
		}
		hashes, err := ct.GetSTHConsistency(t.Context(), size, now.TreeSize)
		if err != nil {
			return err
		}
		return proof.VerifyConsistency(rfc6962.DefaultHasher, size, now.TreeSize, hashes, root, now.SHA256RootHash[:])
	})
}

func eventually(t *testing.T, ask func() error) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// logOne signs with a new certificate, which is in the certificate log before it
// is issued, and logs that.
func (s *Sigstore) logOne(t *testing.T, content string) logged {
	t.Helper()
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Token(t.Context(), Workload, "spiffe://factory.test/factory/chains", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var der []byte
	eventually(t, func() error { // the certificate log's connection comes back by itself
		der, err = sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.FulcioURL}).GetCertificate(t.Context(), keypair, &sign.CertificateProviderOptions{IDToken: token})
		return err
	})
	sig, _, err := keypair.SignData(t.Context(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l := logged{}
	if l.request, err = HashedRekord([]byte(content), sig, cert); err != nil {
		t.Fatal(err)
	}
	code, body := s.post(t, l.request)
	var answer models.LogEntry
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusCreated || len(answer) != 1 {
		t.Fatalf("Rekor answers %d: %s", code, body)
	}
	for l.uuid, l.entry = range answer {
	}
	return l
}

func (s *Sigstore) post(t *testing.T, entry []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.RekorURL+"/api/v1/log/entries", bytes.NewReader(entry))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func fetch(t *testing.T, api *rekorapi.Rekor, uuid string) models.LogEntryAnon {
	t.Helper()
	resp, err := api.Entries.GetLogEntryByUUID(entries.NewGetLogEntryByUUIDParamsWithContext(t.Context()).WithEntryUUID(uuid))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range resp.GetPayload() {
		return entry
	}
	t.Fatal(errors.New("Rekor answers without an entry"))
	return models.LogEntryAnon{}
}

// treeHead is what Rekor signs now.
func treeHead(t *testing.T, api *rekorapi.Rekor, key signature.Verifier) util.SignedCheckpoint {
	t.Helper()
	info, err := api.Tlog.GetLogInfo(tlog.NewGetLogInfoParamsWithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var head util.SignedCheckpoint
	if err := head.UnmarshalText([]byte(*info.GetPayload().SignedTreeHead)); err != nil {
		t.Fatal(err)
	}
	if !head.Verify(key) {
		t.Fatal("the tree head is not signed")
	}
	return head
}

func (s *Sigstore) rekorKey(t *testing.T) signature.Verifier {
	t.Helper()
	data, err := os.ReadFile(s.RekorKeyPath)
	if err != nil {
		t.Fatal(err)
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signature.LoadDefaultVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *Sigstore) ctClient(t *testing.T) *client.LogClient {
	t.Helper()
	data, err := os.ReadFile(s.file("ct.pub"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	ct, err := client.New(loopbackURL(s.ports.ct)+"/millwright", s.client, jsonclient.Options{PublicKeyDER: block.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	return ct
}
