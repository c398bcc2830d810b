import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/**
 * A program without OAuth support: calls a URL repeatedly and prints the answers.
 *
 * <p>Neither the program nor its URL is changed for the sidecar: the outbound listener is the HTTP proxy of the Java
 * runtime. Java uses no proxy for localhost unless nonProxyHosts is empty; an API on another machine does not need that.
 *
 * <pre>
 * java -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9000 -Dhttp.nonProxyHosts= \
 *   examples/legacy/Poll.java http://127.0.0.1:8081/api/v1/devices
 * </pre>
 *
 * <p>The listener serves its own upstream only: a request for any other server is refused with 403. List the servers
 * that the program calls directly in nonProxyHosts.
 *
 * <p>Needs: a JDK, 11 or later. Environment: COUNT=2 (0: no limit), PAUSE=1 (seconds)
 */
public final class Poll {
    private static String setting(String name, String fallback) {
        String value = System.getenv(name);
        return value == null ? fallback : value;
    }

    private static String get(URL url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        connection.setConnectTimeout(10_000);
        connection.setReadTimeout(10_000);
        int status = connection.getResponseCode();
        try (InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            String text = body == null ? "" : new String(body.readAllBytes(), StandardCharsets.UTF_8);
            if (status != 200) {
                throw new IOException(url + " answered " + status + ": " + text.trim());
            }
            return text;
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        if (arguments.length != 1) {
            System.err.println("usage: java Poll.java URL");
            System.exit(2);
        }
        int count = Integer.parseInt(setting("COUNT", "2"));
        long pause = Long.parseLong(setting("PAUSE", "1")) * 1000;
        try {
            URL url = new URL(arguments[0]);
            for (int calls = 1; ; calls++) {
                System.out.print(get(url));
                System.out.flush();
                if (calls == count) {
                    return;
                }
                Thread.sleep(pause);
            }
        } catch (IOException error) {
            System.err.println("poll: " + error.getMessage());
            System.exit(1);
        }
    }
}
