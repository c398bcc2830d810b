import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.FileInputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** `get URL`, or `token URL CA PROXY USER PASSWORD-FILE CLIENT SECRET-FILE`: prints the body of the answer. */
class Egress {
  public static void main(String[] args) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(args[1]));
    var client = HttpClient.newBuilder();
    if (args[0].equals("token")) {
      var address = args[3].split(":");
      client.proxy(ProxySelector.of(new InetSocketAddress(address[0], Integer.parseInt(address[1]))));
      client.authenticator(new Authenticator() {
        @Override
        protected PasswordAuthentication getPasswordAuthentication() {
          if (getRequestorType() != RequestorType.PROXY) return null;
          return new PasswordAuthentication(args[4], read(args[5]).toCharArray());
        }
      });
      client.sslContext(trusting(args[2]));
      request.header("Content-Type", "application/x-www-form-urlencoded");
      // With an authenticator, Java's client sends no `Authorization` of its caller.
      var secret = URLEncoder.encode(read(args[7]), UTF_8);
      var form = "grant_type=client_credentials&client_id=" + args[6] + "&client_secret=" + secret;
      request.POST(HttpRequest.BodyPublishers.ofString(form));
    }
    var answer = client.build().send(request.build(), BodyHandlers.ofString());
    System.out.println(answer.body().strip());
    if (answer.statusCode() != 200) System.exit(1);
  }

  static String read(String file) {
    try {
      return Files.readString(Path.of(file)).strip();
    } catch (java.io.IOException error) {
      throw new java.io.UncheckedIOException(error);
    }
  }

  static SSLContext trusting(String file) throws Exception {
    var store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (var in = new FileInputStream(file)) {
      store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(store);
    var context = SSLContext.getInstance("TLS");
    context.init(null, factory.getTrustManagers(), null);
    return context;
  }
}
