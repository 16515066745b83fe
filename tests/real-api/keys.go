package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// Far longer than any test, and short enough that a forgotten key is worth nothing.
const keyLifetime = 7 * 24 * time.Hour

// Everything a cluster of one test needs to be trusted: its own authority, a certificate for loopback, and the key that
// signs the tokens of service accounts.
func keysCommand() *cobra.Command {
	var folder string
	command := &cobra.Command{
		Use:          "keys",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			return writeKeys(folder)
		},
	}
	command.Flags().StringVar(&folder, "folder", "", "where ca.crt, server.crt, server.key, accounts.key and accounts.pub go")
	return command
}

func writeKeys(folder string) error {
	authority, authorityKey, err := newAuthority()
	if err != nil {
		return err
	}
	if err := writePEM(folder, "ca.crt", "CERTIFICATE", authority.Raw); err != nil {
		return err
	}
	if err := writeServer(folder, authority, authorityKey); err != nil {
		return err
	}
	accounts, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(folder, "accounts.key", accounts); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		return err
	}
	return writePEM(folder, "accounts.pub", "PUBLIC KEY", public)
}

func newAuthority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := certificate(1, "tests of rocketmq-ha")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(der)
	return authority, key, err
}

func writeServer(folder string, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := certificate(2, "kube-apiserver")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		return err
	}
	if err := writePEM(folder, "server.crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(folder, "server.key", key)
}

func certificate(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		// Clocks of tests may be set back a little.
		NotBefore: now.Add(-keyLifetime),
		NotAfter:  now.Add(keyLifetime),
	}
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(folder, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(folder, name, "EC PRIVATE KEY", der)
}

func writePEM(folder, name, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(folder, name), text, 0o600)
}
