import './index.css';
import './badges.css';
