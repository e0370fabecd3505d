package kubetest

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"millwright.dev/millwright/tools/authority"
)

// pki is the cluster's certificate authority and the files that it issued.
type pki struct {
	caFile, serverCert, serverKey, accountKey string

	ca *authority.Authority
}

func newPKI(dir string, now time.Time) (*pki, error) {
	p := &pki{
		caFile: filepath.Join(dir, "ca.crt"), serverCert: filepath.Join(dir, "apiserver.crt"), serverKey: filepath.Join(dir, "apiserver.key"),
		accountKey: filepath.Join(dir, "service-account.key"),
	}
	var err error
	if p.ca, err = authority.New("kubetest", now); err != nil {
		return nil, err
	}
	cert, key, err := p.ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	})
	if err != nil {
		return nil, err
	}
	_, accountKey, err := p.ca.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: "service accounts"}})
	if err != nil {
		return nil, err
	}
	for path, content := range map[string][]byte{p.caFile: p.ca.PEM, p.serverCert: cert, p.serverKey: key, p.accountKey: accountKey} {
		if err := writeFile(path, content); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// ConfigFor is the access of a user who has what RBAC gives to the name and the
// groups, without client-side rate limits.
func (c *Cluster) ConfigFor(user string, groups ...string) (*rest.Config, error) {
	cert, key, err := c.pki.ca.Issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", user, err)
	}
	return &rest.Config{
		Host: c.URL(), QPS: -1, // the server's own fairness decides
		TLSClientConfig: rest.TLSClientConfig{CAData: c.pki.ca.PEM, CertData: cert, KeyData: key},
	}, nil
}

// ServiceAccount is the access of a service account, with a token that the API
// server gives out for it.
func (c *Cluster) ServiceAccount(ctx context.Context, namespace, name string, lifetime time.Duration) (*rest.Config, error) {
	admin, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return nil, err
	}
	seconds := int64(lifetime.Seconds())
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("asking for a token of %s/%s: %w", namespace, name, err)
	}
	return &rest.Config{
		Host: c.URL(), QPS: -1, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: c.pki.ca.PEM},
	}, nil
}

// WriteKubeconfig writes an access that Config, ConfigFor or ServiceAccount gave
// to a file.
func (c *Cluster) WriteKubeconfig(path string, access *rest.Config) error {
	b, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"kubetest": {Server: access.Host, CertificateAuthorityData: access.CAData, CertificateAuthority: access.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"user": {
			ClientCertificateData: access.CertData, ClientKeyData: access.KeyData, Token: access.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{"kubetest": {Cluster: "kubetest", AuthInfo: "user"}},
		CurrentContext: "kubetest",
	})
	if err != nil {
		return fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	return writeFile(path, b)
}

// writeFile writes what nobody else may read: most of it is keys.
func writeFile(path string, content []byte) error { return os.WriteFile(path, content, 0o600) }
