// Command timestamp-server is Sigstore's timestamp authority (RFC 3161) without
// the metrics port of the stock program, which is the same fixed one for every
// instance and ends the second instance on a machine.
package main

import (
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

func main() {
	host := flag.String("host", "127.0.0.1", "address to listen on, a loopback one unless -network")
	network := flag.Bool("network", false, "serve other hosts: for a pod, where a network policy says who asks")
	port := flag.Int("port", 3004, "port to listen on")
	key := flag.String("key", "", "file with the PEM-encoded private key")
	chain := flag.String("chain", "", "file with the PEM-encoded certificate chain, leaf first")
	flag.Parse()
	if err := run(*host, *network, *port, *key, *chain); err != nil {
		slog.Error("timestamp-server", "error", err)
		os.Exit(1)
	}
}

func run(host string, network bool, port int, key, chain string) error {
	if ip := net.ParseIP(host); ip == nil || !network && !ip.IsLoopback() {
		return errors.New("only loopback addresses are served without -network")
	}
	for name, value := range map[string]any{
		"timestamp-signer": "file", "timestamp-signer-hash": "sha256",
		"file-signer-key-path": key, "certificate-chain-path": chain,
		"default-policy-oid": "1.3.6.1.4.1.57264.2", "accepted-policy-oids": []string{"1.3.6.1.4.1.57264.2"},
		"enforce-intermediate-eku": true, "max-request-body-size": 1 << 20,
	} {
		viper.Set(name, value)
	}
	srv := server.NewRestAPIServer(host, port, []string{"http"}, false, 10*time.Second, 10*time.Second)
	srv.GracefulTimeout, srv.CleanupTimeout = time.Second, time.Second
	return srv.Serve()
}
