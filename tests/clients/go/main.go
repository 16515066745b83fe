// Clients is a producer and a consumer on the Apache Go client that are told nothing about name servers but the URL of
// a page that lists them.
//
//	clients produce URL TOPIC PREFIX SECONDS PAUSE_MS
//	clients consume URL TOPIC GROUP SECONDS
//	clients forget URL
//
// The client remembers the last list of each page below the user's home, as the password file has it, whatever HOME says:
// forget removes what was remembered of a page.
//
// Lines and events are those of the Java programs beside this folder; there is no event names, the client does not tell.
package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	// Of one send.
	sendTimeout = 3 * time.Second
	usage       = "usage: clients produce URL TOPIC PREFIX SECONDS PAUSE_MS | consume URL TOPIC GROUP SECONDS | forget URL"
)

func main() {
	rlog.SetLogLevel("error")
	arguments := os.Args[1:]
	var err error
	switch {
	case len(arguments) == 6 && arguments[0] == "produce":
		err = produce(arguments[1], arguments[2], arguments[3], seconds(arguments[4]), milliseconds(arguments[5]))
	case len(arguments) == 5 && arguments[0] == "consume":
		err = consume(arguments[1], arguments[2], arguments[3], seconds(arguments[4]))
	case len(arguments) == 2 && arguments[0] == "forget":
		err = forget(arguments[1])
	default:
		err = fmt.Errorf("%s", usage)
	}
	if err != nil {
		tell("refused", err.Error())
		os.Exit(1)
	}
	tell("ended", arguments[0])
}

func produce(url, topic, prefix string, span, pause time.Duration) error {
	p, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewHttpResolver(instance(url), url)),
		producer.WithGroupName("producers-"+prefix),
		producer.WithRetry(0),
	)
	if err != nil {
		return fmt.Errorf("make producer: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("start producer: %w", err)
	}
	tell("started", prefix)
	end := time.Now().Add(span)
	for number := 0; time.Now().Before(end); number++ {
		send(p, topic, fmt.Sprintf("%s-%d", prefix, number))
		time.Sleep(pause)
	}
	return p.Shutdown()
}

func send(p rocketmq.Producer, topic, body string) {
	limited, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	result, err := p.SendSync(limited, primitive.NewMessage(topic, []byte(body)))
	if err != nil {
		tell("failed", body+" "+err.Error())
		return
	}
	tell("sent", fmt.Sprintf("%s %v", body, result.Status))
}

func consume(url, topic, group string, span time.Duration) error {
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewHttpResolver(instance(url), url)),
		consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return fmt.Errorf("make consumer: %w", err)
	}
	receive := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			tell("received", string(message.Body))
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, receive); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start consumer: %w", err)
	}
	tell("started", group)
	time.Sleep(span)
	return nil
}

// The client names what it remembers after its instance: one for each page, and none of anybody else's.
func instance(url string) string {
	return "httpsite-test-" + strings.NewReplacer("/", "-", ":", "-").Replace(url)
}

func forget(url string) error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("find the user's home: %w", err)
	}
	file := filepath.Join(me.HomeDir, "logs/rocketmq-go/snapshot", "nameserver_addr-"+instance(url))
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", file, err)
	}
	return nil
}

var line sync.Mutex

func tell(event, text string) {
	text, _, _ = strings.Cut(text, "\n")
	line.Lock()
	defer line.Unlock()
	fmt.Printf("%d %s %s\n", time.Now().UnixMilli(), event, text)
}

func seconds(text string) time.Duration {
	return time.Duration(number(text)) * time.Second
}

func milliseconds(text string) time.Duration {
	return time.Duration(number(text)) * time.Millisecond
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		tell("refused", usage)
		os.Exit(1)
	}
	return value
}
