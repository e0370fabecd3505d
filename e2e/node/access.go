package node

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"millwright.dev/millwright/tools/authority"
)

// who are the parts of the node that speak to the API server, by the names under
// which RBAC knows them.
func who() map[string]pkix.Name {
	return map[string]pkix.Name{
		"admin":                   {CommonName: "admin", Organization: []string{"system:masters"}},
		"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
		"kube-scheduler":          {CommonName: "system:kube-scheduler"},
		"kube-proxy":              {CommonName: "system:kube-proxy"},
		"kubelet":                 {CommonName: "system:node:" + Name, Organization: []string{"system:nodes"}},
	}
}

// access is how somebody reaches the API server, and who it is: certificates and key
// as PEM.
type access struct {
	url           string
	ca, cert, key []byte
}

// writeAccess writes every key, certificate and kubeconfig of the node, and
// returns the administrator's access at the URL that the machine uses. The
// authority and the key of service accounts are kept: what they signed before
// holds.
func writeAccess(dir, url string, now time.Time) (access, error) {
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return access{}, err
	}
	ca, err := authority.Load(pki, "millwright factory", now)
	if err != nil {
		return access{}, err
	}
	if err := accountKey(filepath.Join(pki, "service-accounts.key"), ca); err != nil {
		return access{}, err
	}
	for name, template := range servants() {
		if err := issue(ca, pki, name, template); err != nil {
			return access{}, err
		}
	}
	var admin access
	for name, subject := range who() {
		cert, key, err := ca.Issue(&x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return access{}, err
		}
		host := fmt.Sprintf("https://%s:%d", IP, apiPort)
		file := filepath.Join(pki, name+".kubeconfig")
		if name == "admin" {
			host, file = url, filepath.Join(dir, "kubeconfig")
		}
		with := access{url: host, ca: ca.PEM, cert: cert, key: key}
		if err := with.write(file); err != nil {
			return access{}, err
		}
		if name == "admin" {
			admin = with
		}
	}
	return admin, nil
}

// servants are the certificates that are files by themselves.
func servants() map[string]*x509.Certificate {
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return map[string]*x509.Certificate{
		"kube-apiserver": {
			Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: server,
			IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(IP), net.ParseIP(KubernetesService)},
			DNSNames: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			},
		},
		"kubelet": {
			Subject: pkix.Name{CommonName: "system:node:" + Name, Organization: []string{"system:nodes"}}, ExtKeyUsage: server,
			IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(IP)}, DNSNames: []string{Name, "localhost"},
		},
		"kubelet-client": {Subject: pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}, ExtKeyUsage: client},
	}
}

func issue(ca *authority.Authority, dir, name string, template *x509.Certificate) error {
	cert, key, err := ca.Issue(template)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), cert, 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600))
}

func accountKey(file string, ca *authority.Authority) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, key, err := ca.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: "service accounts"}})
	if err != nil {
		return err
	}
	return authority.WriteFile(file, key)
}

// write makes a kubeconfig of it
// (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1). It is written here,
// because this package is what a preflight is compiled with: with the client library
// it would speak after minutes on a machine that has compiled nothing yet.
func (a access) write(file string) error {
	type named map[string]any
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": Name,
		"clusters": []named{{"name": Name, "cluster": named{"server": a.url, "certificate-authority-data": a.ca}}},
		"users":    []named{{"name": "user", "user": named{"client-certificate-data": a.cert, "client-key-data": a.key}}},
		"contexts": []named{{"name": Name, "context": named{"cluster": Name, "user": "user"}}},
	})
	if err != nil {
		return fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	return os.WriteFile(file, b, 0o600)
}

// client speaks to the API server as this somebody; without certificates as nobody.
func (a access) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if len(a.ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(a.ca) {
			return nil, errors.New("the authority of the API server is no certificate")
		}
	}
	if len(a.cert) > 0 {
		pair, err := tls.X509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, nil
}
