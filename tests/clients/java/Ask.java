import java.util.List;
import org.apache.rocketmq.common.utils.HttpTinyClient;
import org.apache.rocketmq.common.utils.HttpTinyClient.HttpResult;

/**
 * Asks a page with the very HTTP client that RocketMQ's Java client looks its name servers up with, and prints what that
 * sees: "MILLISECONDS answered CODE CONTENT", or "MILLISECONDS failed CODE WHY" (here CODE is the word exception).
 *
 * java -cp 'jars/*' Ask.java GET|POST URL [GET|POST URL …]
 */
public class Ask {
    /** As the client: MixAll and DefaultTopAddressing. */
    private static final long TIMEOUT = 3000;

    public static void main(String[] arguments) {
        for (int index = 0; index + 1 < arguments.length; index += 2) {
            ask(arguments[index], arguments[index + 1]);
        }
        System.out.println(System.currentTimeMillis() + " ended asking");
    }

    private static void ask(String method, String url) {
        try {
            HttpResult result = method.equals("POST")
                ? HttpTinyClient.httpPost(url, List.of(), List.of("a", "b"), "UTF-8", TIMEOUT)
                : HttpTinyClient.httpGet(url, null, null, "UTF-8", TIMEOUT);
            String content = result.content == null ? "null" : result.content.strip();
            System.out.println(System.currentTimeMillis() + " answered " + result.code + " " + content);
        } catch (Exception failure) {
            System.out.println(System.currentTimeMillis() + " failed exception " + failure);
        }
        System.out.flush();
    }
}
