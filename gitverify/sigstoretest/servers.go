package sigstoretest

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"millwright.dev/millwright/tools/process"
)

// startAll starts the servers, each after those that it asks while starting.
func (s *Sigstore) startAll(ctx context.Context) error {
	treeFile := filepath.Join(s.dir, "ct.tree")
	if err := s.start("people", "oidc-issuer", "-addr", process.Addr(s.ports.people)); err != nil {
		return err
	}
	if err := s.start("workloads", "oidc-issuer", "-addr", process.Addr(s.ports.workloads)); err != nil {
		return err
	}
	if err := s.startTrillian(treeFile); err != nil {
		return err
	}
	if err := s.start("timestamps", "timestamp-server", "-port", strconv.Itoa(s.ports.stamps), "-key", s.file("tsa.key"), "-chain", s.file("tsa.crt")); err != nil {
		return err
	}
	if err := s.processes["trillian"].Wait(ctx, func(context.Context) error { _, err := os.Stat(treeFile); return err }); err != nil {
		return err
	}
	if err := s.startCT(treeFile); err != nil {
		return err
	}
	if err := s.startRekor(); err != nil {
		return err
	}
	for _, kind := range []struct{ server, url string }{{"people", s.IssuerURL(Person)}, {"workloads", s.IssuerURL(Workload)}} {
		if err := s.processes[kind.server].Wait(ctx, process.OK(s.client, kind.url+"/keys")); err != nil {
			return err
		}
	}
	if err := s.startFulcio(); err != nil {
		return err
	}
	for _, server := range []struct{ name, url string }{
		{"timestamps", s.TimestampURL + "/ping"},
		{"ct", loopbackURL(s.ports.ct) + "/millwright/ct/v1/get-sth"},
		{"rekor", s.RekorURL + "/api/v1/log/publicKey"},
		{"fulcio", s.FulcioURL + "/healthz"},
	} {
		if err := s.processes[server.name].Wait(ctx, process.OK(s.client, server.url)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sigstore) start(name, program string, args ...string) error {
	p, err := process.Start(process.Spec{
		Name: name + " (" + program + ")", Path: s.bin.Path(program), Args: args,
		Dir: s.dir, Env: []string{"HOME=" + s.dir, "TMPDIR=" + os.TempDir()}, Log: s.file(name + ".log"),
	})
	if err != nil {
		return err
	}
	s.processes[name] = p
	return nil
}

// The logs that outlive Trillian have these ids, as in bases/sigstore.
const keptCT, keptRekor = "1001", "1002"

// startTrillian starts what has the leaves of both logs. Without keepLogs, Rekor
// asks it for a log of its own.
func (s *Sigstore) startTrillian(treeFile string) error {
	args := []string{"-addr", process.Addr(s.ports.trillian)}
	if !s.keepLogs {
		return s.start("trillian", "trillian-memory", append(args, "-tree-file", treeFile)...)
	}
	if err := os.MkdirAll(s.file("logs"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(treeFile, []byte(keptCT), 0o600); err != nil {
		return err
	}
	return s.start("trillian", "trillian-memory", append(args, "-logs", keptCT+","+keptRekor, "-data", s.file("logs"))...)
}

// startCT starts the certificate transparency log. Its key stands in its
// configuration, since key files must be encrypted in a form of long ago.
func (s *Sigstore) startCT(treeFile string) error {
	tree, err := os.ReadFile(treeFile)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.keys.ct)
	if err != nil {
		return err
	}
	var escaped strings.Builder
	for _, b := range der {
		fmt.Fprintf(&escaped, `\%03o`, b)
	}
	config := fmt.Sprintf(`config {
  log_id: %s
  prefix: "millwright"
  roots_pem_file: %q
  private_key: { [type.googleapis.com/keyspb.PrivateKey] { der: "%s" } }
  ext_key_usages: "CodeSigning"
}
`, tree, s.file("fulcio.crt"), escaped.String())
	if err := os.WriteFile(s.file("ct.textproto"), []byte(config), 0o600); err != nil {
		return err
	}
	return s.start("ct", "ct_server", "--log_config", s.file("ct.textproto"),
		"--log_rpc_server", process.Addr(s.ports.trillian), "--http_endpoint", process.Addr(s.ports.ct))
}

// startRekor starts the transparency log. Without its search index, which needs a
// database, gitsign must embed its entries (rekorMode=offline).
func (s *Sigstore) startRekor() error {
	args := []string{
		"serve",
		"--rekor_server.address", "127.0.0.1", "--port", strconv.Itoa(s.ports.rekor),
		"--rekor_server.hostname", "127.0.0.1", "--rekor_server.signer", s.file("rekor.key"),
		"--trillian_log_server.address", "127.0.0.1", "--trillian_log_server.port", strconv.Itoa(s.ports.trillian),
		"--publish_frequency", "0",
	}
	if s.keepLogs {
		args = append(args, "--trillian_log_server.tlog_id", keptRekor)
	}
	endpoints := "getLogInfo,getLogProof,getPublicKey,createLogEntry,getLogEntryByIndex,getLogEntryByUUID,searchLogQuery"
	if s.searchIndex {
		if err := s.start("index", "redis", "-addr", process.Addr(s.ports.index)); err != nil {
			return err
		}
		args = append(args, "--search_index.storage_provider", "redis", "--redis_server.address", "127.0.0.1", "--redis_server.port", strconv.Itoa(s.ports.index))
		endpoints += ",searchIndex"
	} else {
		args = append(args, "--enable_retrieve_api=false")
	}
	return s.start("rekor", "rekor-server", append(args, "--enabled_api_endpoints", endpoints)...)
}

func (s *Sigstore) startFulcio() error {
	var config strings.Builder
	config.WriteString("oidc-issuers:\n")
	fmt.Fprintf(&config, "  %[1]s:\n    issuer-url: %[1]s\n    client-id: sigstore\n    type: email\n", s.IssuerURL(Person))
	fmt.Fprintf(&config, "  %[1]s:\n    issuer-url: %[1]s\n    client-id: sigstore\n    type: spiffe\n    spiffe-trust-domain: %[2]s\n", s.IssuerURL(Workload), s.trustDomain)
	if err := os.WriteFile(s.file("fulcio.yaml"), []byte(config.String()), 0o600); err != nil {
		return err
	}
	return s.start("fulcio", "fulcio", "serve", "--ca", "fileca", "--fileca-watch=false",
		"--fileca-cert", s.file("fulcio.crt"), "--fileca-key", s.file("fulcio.key"),
		"--fileca-key-passwd", "unused", // must be there; the key is not encrypted
		"--config-path", s.file("fulcio.yaml"),
		"--host", "127.0.0.1", "--port", strconv.Itoa(s.ports.fulcio),
		"--grpc-host", "127.0.0.1", "--grpc-port", strconv.Itoa(s.ports.fulcioGRPC),
		"--metrics-port", strconv.Itoa(s.ports.fulcioMetrics),
		// An abstract socket: a file would be left behind and be in the way.
		"--legacy-unix-domain-socket", "@millwright-fulcio-"+strconv.Itoa(s.ports.fulcioGRPC),
		"--ct-log-url", loopbackURL(s.ports.ct)+"/millwright", "--ct-log-public-key-path", s.file("ct.pub"))
}

func (s *Sigstore) file(name string) string { return filepath.Join(s.dir, name) }
