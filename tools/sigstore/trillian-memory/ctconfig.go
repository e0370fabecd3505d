package main

import (
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// ctConfig is what the certificate transparency front end must find in a file at
// its start. It has a key or the password of one in it, so it is made where it is
// read, and of files that a Secret brings.
type ctConfig struct {
	file, prefix, roots, key, passwordFile string
	log                                    int64
}

func (c *ctConfig) flags() {
	flag.StringVar(&c.file, "ct-config", "", "write the configuration of a CT front end to this file")
	flag.Int64Var(&c.log, "ct-log", 0, "for -ct-config: id of its log, one of -logs")
	flag.StringVar(&c.prefix, "ct-prefix", "", "for -ct-config: first element of its URLs")
	flag.StringVar(&c.roots, "ct-roots", "", "for -ct-config: PEM file with the authorities whose certificates are taken")
	flag.StringVar(&c.key, "ct-key", "", "for -ct-config: PEM file of the log's key")
	flag.StringVar(&c.passwordFile, "ct-password-file", "", "for -ct-config: file with the password of the key, if it is encrypted")
}

func (c *ctConfig) write() error {
	if c.file == "" {
		return nil
	}
	key, err := c.privateKey()
	if err != nil {
		return fmt.Errorf("reading the CT log's key: %w", err)
	}
	return publish(c.file, fmt.Appendf(nil, `config {
  log_id: %d
  prefix: %q
  roots_pem_file: %q
  private_key: { [type.googleapis.com/keyspb.%s }
  ext_key_usages: "CodeSigning"
}
`, c.log, c.prefix, c.roots, key))
}

// privateKey says where the key is, or what it is: the front end takes files of
// keys only when they are encrypted as PEM itself once did it (RFC 1421).
func (c *ctConfig) privateKey() (string, error) {
	data, err := os.ReadFile(c.key)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(data)
	switch {
	case block == nil:
		return "", errors.New("it is no PEM")
	case block.Headers["DEK-Info"] != "":
		password, err := os.ReadFile(c.passwordFile)
		return fmt.Sprintf("PEMKeyFile] { path: %q password: %q }", c.key, strings.TrimSpace(string(password))), err
	case block.Type != "PRIVATE KEY":
		return "", fmt.Errorf("it is of type %s, not PKCS #8", block.Type)
	}
	var der strings.Builder
	for _, b := range block.Bytes {
		fmt.Fprintf(&der, `\%03o`, b)
	}
	return fmt.Sprintf(`PrivateKey] { der: "%s" }`, der.String()), nil
}
