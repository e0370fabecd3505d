// Command kmsplugin stands for a key management service in tests: a plugin of
// sigstore whose keys are files.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

// service has one key.
type service struct{ signature.SignerVerifier }

func (service) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("no keys are made here")
}

func (service) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("no key leaves")
}
func (service) SupportedAlgorithms() []string { return nil }
func (service) DefaultAlgorithm() string      { return "" }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(args.InitOptions.KeyResourceID)
	if err != nil {
		return errors.Join(err, handler.WriteErrorResponse(os.Stdout, errors.New("no such key")))
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return errors.New("no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("not an ECDSA key")
	}
	signer, err := signature.LoadECDSASignerVerifier(private, crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, service{signer})
	return err
}
