package main

import (
	"errors"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// An etcd that is not ready by then will not be.
const readyLimit = 60 * time.Second

// A cluster of one, in plain text: its only client is the apiserver beside it, over loopback.
func etcdCommand() *cobra.Command {
	var folder, clients, peers string
	var fsync bool
	command := &cobra.Command{
		Use:          "etcd",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			config, err := etcdConfig(folder, clients, peers)
			if err != nil {
				return err
			}
			config.UnsafeNoFsync = !fsync
			return serveEtcd(config)
		},
	}
	flags := command.Flags()
	flags.StringVar(&folder, "data-dir", "", "where everything is kept")
	flags.StringVar(&clients, "client-url", "", "where clients are served")
	flags.StringVar(&peers, "peer-url", "", "where other members would be served")
	flags.BoolVar(&fsync, "fsync", false, "write as safely as production does")
	return command
}

func etcdConfig(folder, clients, peers string) (*embed.Config, error) {
	client, err := url.Parse(clients)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(peers)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = folder
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.LogLevel = "warn"
	// Embedded, it would be zero, and every request be logged as a slow one.
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	return config, nil
}

func serveEtcd(config *embed.Config) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-etcd.Server.ReadyNotify():
	case <-stop:
		return nil
	case <-time.After(readyLimit):
		return errors.New("etcd is not ready")
	}
	select {
	case err := <-etcd.Err():
		return err
	case <-stop:
		return nil
	}
}
