import java.io.File;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Stock producers of every kind, each a client of its own with the client's default settings, at work at once.
 *
 * java -cp 'jars/*' Producers.java NAME_SERVERS timer|no-timer [tuned]
 *
 * A line per event, "MILLISECONDS EVENT KIND TEXT", milliseconds since the epoch. Events:
 * started; sent KIND MESSAGE STATUS MEMBER (acknowledged; the broker's address, or "-" where the client does not tell it);
 * failed KIND MESSAGE WHY; checked transaction MESSAGE STATE (the broker asked what became of it); ended (it answers the
 * broker's questions until it is killed). Two files in the working folder are orders: "resolve" (transactions left
 * unknown may be decided now), "stop".
 *
 * Names tell what shall become of a message. sync-N, async-N. ordered-KEY-N: sent again until acknowledged, so that N
 * grows with each key. level-N@DUE and timer-N@DUE: not before DUE. commit-N, rollback-N; asked-commit-N and
 * asked-rollback-N are left unknown, and told when the broker asks after "resolve".
 */
public class Producers {
    private static final int KEYS = 8;
    /** Messages of one kind on their way at once: an asynchronous producer must not run away in a gap. */
    private static final int UNDER_WAY = 64;
    private static final long LONGEST_STOP = 30_000;

    private final String names;
    private final boolean tuned;
    private final List<Thread> threads = new ArrayList<>();

    private interface Send {
        void send(int number) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        boolean tuned = arguments.length > 2 && arguments[2].equals("tuned");
        new Producers(arguments[0], tuned).run(arguments[1].equals("timer"));
    }

    private Producers(String names, boolean tuned) {
        this.names = names;
        this.tuned = tuned;
    }

    private void run(boolean timer) throws Exception {
        sync();
        async();
        ordered();
        delayed(timer);
        transactional();
        tell("started", "producers");
        for (Thread thread : threads) {
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        tell("ended", "producers");
        // Somebody must be there to be asked about transactions that are still open.
        Thread.currentThread().join();
    }

    private void sync() throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("clients-sync"));
        repeat("sync", 50, number -> {
            String name = "sync-" + number;
            sent("sync", name, producer.send(message("clients-plain", name)));
        });
    }

    private void async() throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("clients-async"));
        AtomicInteger underWay = new AtomicInteger();
        repeat("async", 50, number -> {
            if (underWay.get() >= UNDER_WAY) {
                return;
            }
            String name = "async-" + number;
            underWay.incrementAndGet();
            producer.send(message("clients-plain", name), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    underWay.decrementAndGet();
                    sent("async", name, result);
                }

                @Override
                public void onException(Throwable failure) {
                    underWay.decrementAndGet();
                    failed("async", name, failure);
                }
            });
        });
        // The last answers.
        threads.add(new Thread(() -> {
            long end = Long.MAX_VALUE;
            while (System.currentTimeMillis() < end && (end == Long.MAX_VALUE || underWay.get() > 0)) {
                if (end == Long.MAX_VALUE && ordered("stop")) {
                    end = System.currentTimeMillis() + LONGEST_STOP;
                }
                pause(100);
            }
        }));
    }

    private void ordered() throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("clients-ordered"));
        int[] next = new int[KEYS];
        repeat("ordered", 50, number -> {
            int key = number % KEYS;
            String name = "ordered-" + key + "-" + next[key];
            try {
                SendResult result = producer.send(message("clients-ordered", name),
                    (queues, message, chosen) -> queues.get((int) chosen % queues.size()), key);
                next[key]++;
                sent("ordered", name, result);
            } catch (Exception failure) {
                failed("ordered", name, failure);
            }
        });
    }

    private void delayed(boolean timer) throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("clients-delayed"));
        repeat("delayed", 200, number -> {
            boolean timed = timer && number % 2 == 1;
            // Levels 2 and 3 of the broker's default table.
            int level = number % 4 < 2 ? 2 : 3;
            long due = System.currentTimeMillis() + (timed ? 8_000 : level == 2 ? 5_000 : 10_000);
            String name = (timed ? "timer-" : "level-") + number + "@" + due;
            Message message = message("clients-delayed", name);
            if (timed) {
                // As Message#setDeliverTimeMs of 5.x, which 4.9 lacks.
                MessageAccessor.putProperty(message, "TIMER_DELIVER_MS", Long.toString(due));
            } else {
                message.setDelayTimeLevel(level);
            }
            try {
                sent("delayed", name, producer.send(message));
            } catch (Exception failure) {
                failed("delayed", name, failure);
            }
        });
    }

    private void transactional() throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer("clients-transaction");
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                String name = new String(message.getBody(), StandardCharsets.UTF_8);
                return name.startsWith("asked") ? LocalTransactionState.UNKNOW : decided(name);
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                String name = new String(message.getBody(), StandardCharsets.UTF_8);
                boolean open = name.startsWith("asked") && !ordered("resolve");
                LocalTransactionState state = open ? LocalTransactionState.UNKNOW : decided(name);
                tell("checked", "transaction " + name + " " + state);
                return state;
            }
        });
        started(producer);
        String[] kinds = {"commit-", "rollback-", "asked-commit-", "asked-rollback-"};
        repeat("transaction", 250, number -> {
            String name = kinds[number % kinds.length] + number;
            try {
                sent("transaction", name, producer.sendMessageInTransaction(message("clients-transaction", name), null));
            } catch (Exception failure) {
                failed("transaction", name, failure);
            }
        });
    }

    private static LocalTransactionState decided(String name) {
        return name.contains("commit-") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
    }

    private <T extends DefaultMQProducer> T started(T producer) throws MQClientException {
        producer.setNamesrvAddr(names);
        if (tuned) {
            producer.setPollNameServerInterval(1000);
            producer.setHeartbeatBrokerInterval(5000);
            producer.setRetryAnotherBrokerWhenNotStoreOK(true);
            producer.setSendLatencyFaultEnable(true);
        }
        producer.start();
        return producer;
    }

    private void repeat(String kind, long pause, Send send) {
        threads.add(new Thread(() -> {
            for (int number = 0; !ordered("stop"); number++) {
                try {
                    send.send(number);
                } catch (Exception failure) {
                    failed(kind, kind + "-" + number, failure);
                }
                pause(pause);
            }
        }, kind));
    }

    private static Message message(String topic, String name) {
        return new Message(topic, name.getBytes(StandardCharsets.UTF_8));
    }

    private static void sent(String kind, String name, SendResult result) {
        String member = "-";
        try {
            if (result.getOffsetMsgId() != null) {
                InetSocketAddress address = (InetSocketAddress) MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getAddress();
                member = address.getAddress().getHostAddress() + ":" + address.getPort();
            }
        } catch (Exception unreadable) {
            member = "-";
        }
        tell("sent", kind + " " + name + " " + result.getSendStatus() + " " + member);
    }

    private static void failed(String kind, String name, Throwable failure) {
        StringBuilder why = new StringBuilder();
        for (Throwable one = failure; one != null; one = one.getCause()) {
            why.append(why.length() == 0 ? "" : "/").append(one.getClass().getSimpleName());
            if (one instanceof MQBrokerException) {
                why.append(":").append(((MQBrokerException) one).getResponseCode());
            } else if (one instanceof MQClientException && ((MQClientException) one).getResponseCode() > 0) {
                why.append(":").append(((MQClientException) one).getResponseCode());
            }
        }
        tell("failed", kind + " " + name + " " + why);
    }

    private static boolean ordered(String what) {
        return new File(what).exists();
    }

    private static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    private static synchronized void tell(String event, String text) {
        System.out.println(System.currentTimeMillis() + " " + event + " " + text);
        System.out.flush();
    }
}
