import java.io.File;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Stock consumers of every kind, each a client of its own with the client's default settings, at work at once.
 *
 * java -cp 'jars/*' Consumers.java NAME_SERVERS [tuned]
 *
 * Lines as Producers prints them. Events: started; got KIND MESSAGE BROKER:QUEUE OFFSET MEMBER (the address of the broker
 * that stored it); failed KIND WHY; for every file "audit-N" in the working folder, all that can be read now:
 * stored N MESSAGE BROKER:QUEUE OFFSET MEMBER and, last, audited N COUNT, or unaudited N WHY. It runs until it is killed.
 */
public class Consumers {
    private static final List<String> TOPICS = List.of("clients-plain", "clients-ordered", "clients-delayed", "clients-transaction");

    private final String names;
    private final boolean tuned;

    public static void main(String[] arguments) throws Exception {
        boolean tuned = arguments.length > 1 && arguments[1].equals("tuned");
        new Consumers(arguments[0], tuned).run();
    }

    private Consumers(String names, boolean tuned) {
        this.names = names;
        this.tuned = tuned;
    }

    private void run() throws Exception {
        push("push", "clients-plain", false);
        push("broadcast", "clients-plain", true);
        push("delayed", "clients-delayed", false);
        push("transaction", "clients-transaction", false);
        orderly();
        lite();
        pull();
        tell("started", "consumers");
        DefaultMQPullConsumer auditor = set(new DefaultMQPullConsumer("clients-audit"));
        auditor.start();
        for (int number = 0; ; ) {
            if (new File("audit-" + number).exists()) {
                audit(auditor, number);
                number++;
            }
            Thread.sleep(500);
        }
    }

    private DefaultMQPushConsumer pushing(String kind, String topic) throws Exception {
        DefaultMQPushConsumer consumer = set(new DefaultMQPushConsumer("clients-" + kind));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    private void push(String kind, String topic, boolean broadcast) throws Exception {
        DefaultMQPushConsumer consumer = pushing(kind, topic);
        if (broadcast) {
            // The package of MessageModel differs between 4.9 and 5.x.
            for (java.lang.reflect.Method method : DefaultMQPushConsumer.class.getMethods()) {
                if (method.getName().equals("setMessageModel")) {
                    Class<?> model = method.getParameterTypes()[0];
                    method.invoke(consumer, model.getField("BROADCASTING").get(null));
                }
            }
        }
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            got(kind, messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    private void orderly() throws Exception {
        DefaultMQPushConsumer consumer = pushing("orderly", "clients-ordered");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            got("orderly", messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
    }

    private void lite() throws Exception {
        DefaultLitePullConsumer consumer = set(new DefaultLitePullConsumer("clients-lite"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("clients-plain", "*");
        consumer.start();
        new Thread(() -> {
            while (true) {
                got("lite", consumer.poll(500));
            }
        }, "lite").start();
    }

    /** The oldest kind: the application asks queue by queue, and keeps its own positions. */
    private void pull() throws Exception {
        DefaultMQPullConsumer consumer = set(new DefaultMQPullConsumer("clients-pull"));
        consumer.start();
        Map<MessageQueue, Long> next = new HashMap<>();
        new Thread(() -> {
            while (true) {
                try {
                    for (MessageQueue queue : consumer.fetchSubscribeMessageQueues("clients-plain")) {
                        PullResult result = consumer.pull(queue, "*", next.getOrDefault(queue, 0L), 32);
                        if (result.getPullStatus() == PullStatus.FOUND) {
                            got("pull", result.getMsgFoundList());
                        } else if (result.getPullStatus() == PullStatus.OFFSET_ILLEGAL) {
                            tell("failed", "pull OFFSET_ILLEGAL");
                        }
                        next.put(queue, result.getNextBeginOffset());
                        consumer.updateConsumeOffset(queue, result.getNextBeginOffset());
                    }
                } catch (Exception failure) {
                    tell("failed", "pull " + failure.getClass().getSimpleName());
                }
                pause(50);
            }
        }, "pull").start();
    }

    private static void audit(DefaultMQPullConsumer consumer, int number) {
        int count = 0;
        try {
            for (String topic : TOPICS) {
                Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
                for (MessageQueue queue : queues) {
                    long end = consumer.maxOffset(queue);
                    for (long at = consumer.minOffset(queue); at < end; ) {
                        PullResult result = consumer.pull(queue, "*", at, 32);
                        if (result.getPullStatus() != PullStatus.FOUND || result.getNextBeginOffset() <= at) {
                            throw new IllegalStateException(queue + " at " + at + " of " + end + ": " + result.getPullStatus());
                        }
                        for (MessageExt message : result.getMsgFoundList()) {
                            tell("stored", number + " " + described(message));
                            count++;
                        }
                        at = result.getNextBeginOffset();
                    }
                }
            }
            tell("audited", number + " " + count);
        } catch (Exception failure) {
            tell("unaudited", number + " " + failure.toString().lines().findFirst().orElse(""));
        }
    }

    private <T extends ClientConfig> T set(T client) {
        client.setNamesrvAddr(names);
        if (tuned) {
            client.setPollNameServerInterval(1000);
            client.setHeartbeatBrokerInterval(5000);
        }
        return client;
    }

    private static void got(String kind, List<MessageExt> messages) {
        for (MessageExt message : messages) {
            tell("got", kind + " " + described(message));
        }
    }

    private static String described(MessageExt message) {
        InetSocketAddress member = (InetSocketAddress) message.getStoreHost();
        return new String(message.getBody(), StandardCharsets.UTF_8) + " " + message.getBrokerName() + ":" + message.getQueueId()
            + " " + message.getQueueOffset() + " " + member.getAddress().getHostAddress() + ":" + member.getPort();
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
