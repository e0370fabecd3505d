package node

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

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

// writeAccess writes every key, certificate and kubeconfig of the node, and
// returns the administrator's access at the URL that the machine uses. The
// authority and the key of service accounts are kept: what they signed before
// holds.
func writeAccess(dir, url string, now time.Time) (*rest.Config, error) {
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return nil, err
	}
	ca, err := authority.Load(pki, "millwright factory", now)
	if err != nil {
		return nil, err
	}
	if err := accountKey(filepath.Join(pki, "service-accounts.key"), ca); err != nil {
		return nil, err
	}
	for name, template := range servants() {
		if err := issue(ca, pki, name, template); err != nil {
			return nil, err
		}
	}
	var admin *rest.Config
	for name, subject := range who() {
		cert, key, err := ca.Issue(&x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return nil, err
		}
		host := fmt.Sprintf("https://%s:%d", IP, apiPort)
		file := filepath.Join(pki, name+".kubeconfig")
		if name == "admin" {
			host, file = url, filepath.Join(dir, "kubeconfig")
		}
		access := &rest.Config{Host: host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: ca.PEM, CertData: cert, KeyData: key}}
		if err := writeKubeconfig(file, access); err != nil {
			return nil, err
		}
		if name == "admin" {
			admin = access
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

func writeKubeconfig(file string, access *rest.Config) error {
	b, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{Name: {Server: access.Host, CertificateAuthorityData: access.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"user": {ClientCertificateData: access.CertData, ClientKeyData: access.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{Name: {Cluster: Name, AuthInfo: "user"}},
		CurrentContext: Name,
	})
	if err != nil {
		return fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	return os.WriteFile(file, b, 0o600)
}
