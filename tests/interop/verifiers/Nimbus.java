import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;

/** Nimbus JOSE+JWT, set up by its documentation, against the four forms of token. Prints a row. */
class Nimbus {
    public static void main(String[] arguments) throws Exception {
        var issuer = System.getenv("M2M_ISSUER");
        var keys = JWKSourceBuilder.create(URI.create(issuer + "/.well-known/jwks.json").toURL()).build();
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(Set.of(JWSAlgorithm.ES256, JWSAlgorithm.RS256), keys));
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(
                System.getenv("M2M_AUDIENCE"), new JWTClaimsSet.Builder().issuer(issuer).build(), Set.of("exp")));
        var row = new StringBuilder("| Nimbus JOSE+JWT |");
        for (var form : System.getenv("M2M_FORMS").split(" ")) {
            var token = Files.readString(Path.of(System.getenv("M2M_TOKENS"), form)).strip();
            row.append(accepts(processor, token) ? " yes |" : " no |");
        }
        System.out.println(row);
    }

    private static boolean accepts(DefaultJWTProcessor<SecurityContext> processor, String token) {
        try {
            processor.process(token, null);
            return true;
        } catch (Exception refused) {
            return false;
        }
    }
}
